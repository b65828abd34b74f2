"""Pictures of explanations. Matplotlib is imported when a picture is drawn, and its global state is never touched."""

from whence.plots.grid import plot as plot
from whence.plots.heatmap import HeatMap as HeatMap

__all__ = ["HeatMap", "plot"]
