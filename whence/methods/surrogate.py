"""A linear model fitted to scores around a sample: weights by distance, a choice of features, what the fit is worth.

The steps and their defaults are those of the lime package, version 0.2 (Ribeiro, Singh and Guestrin 2016,
arXiv 1602.04938, section 3.4 and algorithm 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from whence.core.errors import ParameterError
from whence.core.validation import one_of, positive_int

SELECTIONS = ("auto", "none", "forward", "highest_weights", "lasso_path")


@dataclass(frozen=True)
class Fit:
    """Coefficients ``[F]`` (zero where not chosen) and their standard errors, and of the fit: intercept, R2 and the
    prediction at the sample."""

    values: np.ndarray
    error: np.ndarray
    intercept: float
    score: float
    prediction: float


@dataclass(frozen=True)
class Surrogate:
    """How the linear model is fitted: an estimator of scikit-learn, and how many features it may use."""

    estimator: Any
    n_features: int | None
    selection: str

    def __post_init__(self) -> None:
        one_of("feature_selection", self.selection, SELECTIONS)
        if self.n_features is not None:
            positive_int("n_features", self.n_features)
        if self.estimator is not None and not _takes_weights(self.estimator):
            raise ParameterError(
                "surrogate",
                received=repr(self.estimator),
                valid="None, or a linear estimator of scikit-learn that takes sample_weight",
            )

    def fit(self, z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Fit:
        """The surrogate of scores ``y[K]`` in ``z[K, F]``, whose first row is the sample."""
        kept = self._chosen(z, y, weight)
        model = self._estimator().fit(z[:, kept], y, sample_weight=weight)
        if not hasattr(model, "coef_"):
            raise ParameterError("surrogate", received=type(model).__name__, valid="a linear estimator, with coef_")
        predicted = model.predict(z[:, kept])
        values, error = np.zeros(z.shape[1]), np.zeros(z.shape[1])
        values[kept] = np.ravel(model.coef_)
        error[kept] = _standard_error(z[:, kept], y - predicted, weight, getattr(model, "alpha", 0.0))
        total = weight @ (y - np.average(y, weights=weight)) ** 2
        score = 1 - weight @ (y - predicted) ** 2 / total if total > 0 else float("nan")
        return Fit(values, error, float(np.ravel(model.intercept_)[0]), float(score), float(predicted[0]))

    def _estimator(self) -> Any:
        from sklearn.base import clone
        from sklearn.linear_model import Ridge

        return Ridge(alpha=1.0) if self.estimator is None else clone(self.estimator)

    def _chosen(self, z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Numbers of the features that the surrogate uses."""
        count, every = self.n_features, np.arange(z.shape[1])
        if count is None or count >= len(every) or self.selection == "none":
            return every
        rule = self.selection
        if rule == "auto":
            rule = "forward" if count <= 6 else "highest_weights"
        return {"forward": _forward, "highest_weights": _highest, "lasso_path": _lasso}[rule](z, y, weight, count)


def _takes_weights(estimator: Any) -> bool:
    from sklearn.utils.validation import has_fit_parameter

    fits = hasattr(estimator, "fit") and hasattr(estimator, "get_params")
    return fits and bool(has_fit_parameter(estimator, "sample_weight"))


def _forward(z: np.ndarray, y: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """Features added one by one, each time the one with the best fit."""
    kept: list[int] = []
    for _ in range(count):
        scores = [-np.inf if f in kept else _explained(z[:, [*kept, f]], y, weight) for f in range(z.shape[1])]
        kept.append(int(np.argmax(scores)))
    return np.array(kept)


def _explained(z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """R2, up to a constant, of weighted least squares."""
    root = np.sqrt(weight)
    design = root[:, None] * np.column_stack([np.ones(len(z)), z])
    residual = root * y - design @ np.linalg.lstsq(design, root * y, rcond=None)[0]
    return -float(residual @ residual)


def _highest(z: np.ndarray, y: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """Features with the largest coefficients, times the sample's own value, in a ridge regression."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=0.01).fit(z, y, sample_weight=weight)
    return np.argsort(-np.abs(model.coef_ * z[0]), kind="stable")[:count]


def _lasso(z: np.ndarray, y: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """Features on the lasso's path where it has most, up to ``count``."""
    from sklearn.linear_model import lars_path

    root = np.sqrt(weight)
    centred = (z - np.average(z, axis=0, weights=weight)) * root[:, None]
    path = lars_path(centred, (y - np.average(y, weights=weight)) * root, method="lasso")[2]
    for step in range(path.shape[1] - 1, 0, -1):
        kept = np.flatnonzero(path[:, step])
        if len(kept) <= count:
            return kept
    return np.flatnonzero(path[:, -1])[:count]


def _standard_error(z: np.ndarray, residual: np.ndarray, weight: np.ndarray, alpha: Any) -> np.ndarray:
    """Of weighted ridge coefficients, whatever the variance of each row's residual (White 1980)."""
    centred = z - np.average(z, axis=0, weights=weight)
    penalty = float(alpha) if isinstance(alpha, Real) else 0.0
    inverse = np.linalg.pinv((centred * weight[:, None]).T @ centred + penalty * np.eye(z.shape[1]))
    influence = (weight * residual)[:, None] * centred @ inverse
    return np.asarray(np.sqrt((influence**2).sum(axis=0)))
