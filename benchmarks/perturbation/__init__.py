"""Time of perturbation, Shapley and surrogate methods over the floor: as many rows by hand, in the same process."""

from benchmarks.perturbation.run import measure as measure
