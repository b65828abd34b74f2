"""Backward rules on architectures of other libraries, with random weights: each runs or raises by name."""

from benchmarks.zoo.run import measure as measure
