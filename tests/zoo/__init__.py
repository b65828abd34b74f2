"""The same networks with the same weights in PyTorch, Keras and Flax, for tests and benchmarks."""
