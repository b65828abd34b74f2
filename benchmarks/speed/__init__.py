"""Time over the floor: the same gradients by hand, at the best batch size and memory format, in the same process."""

from benchmarks.speed.run import measure as measure
