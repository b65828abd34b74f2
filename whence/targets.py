"""Scores to explain beyond one entry of the output; each may be given as ``target``."""

from whence.core.scores import Box, Contrast, Region, Score, Similarity

__all__ = ["Box", "Contrast", "Region", "Score", "Similarity"]
