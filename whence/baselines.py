"""Baselines and baseline distributions, for the ``baseline`` field of every method that has one."""

from whence.core.baselines import Blur, DataSet, Distribution, FeatureMean, Gaussian, Inpaint, Uniform

__all__ = ["Blur", "DataSet", "Distribution", "FeatureMean", "Gaussian", "Inpaint", "Uniform"]
