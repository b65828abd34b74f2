"""The same small network in three frameworks; each file imports only its own, and takes the weights as NumPy arrays.

Each offers ``build(weights, dtype)``, ``train(weights, images, labels)`` and ``scope(dtype)``, a context in which
models of this dtype live and compute on the CPU. Images are in the framework's own layout.
"""
