"""Ways to cut inputs into features, for the ``feature_mask`` field of every method that takes parts away."""

from whence.core.features import Columns, Features, Fixed, Grid, Numbers, Pixels, Superpixels, Tokens
from whence.core.texts import Texts

__all__ = ["Columns", "Features", "Fixed", "Grid", "Numbers", "Pixels", "Superpixels", "Texts", "Tokens"]
