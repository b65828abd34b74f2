"""Time of class activation maps over the floor: their passes through the network, by hand, in the same process."""

from benchmarks.maps.run import measure as measure
