"""Which features a sparse linear model keeps, by scikit-learn."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np

from whence.core.errors import ParameterError


def selected(rule: int | float | str | None, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Numbers of the columns of ``x[n, F]`` kept to explain ``y[n]``, one at least.

    ``rule``: an int for so many, ``"aic"`` or ``"bic"``, a float for a lasso's penalty, None for all.
    """
    from sklearn.linear_model import Lasso, LassoLarsIC, lars_path

    if rule is None:
        return np.arange(x.shape[1])
    if isinstance(rule, Integral) and not isinstance(rule, bool) and rule >= 1:
        kept = lars_path(x, y, max_iter=int(rule))[1]
    elif rule in ("aic", "bic"):
        kept = np.flatnonzero(LassoLarsIC(criterion=rule, noise_variance=_noise(x, y)).fit(x, y).coef_)
    elif isinstance(rule, Real) and not isinstance(rule, bool | Integral) and rule > 0:
        kept = np.flatnonzero(Lasso(alpha=float(rule), fit_intercept=False).fit(x, y).coef_)
    else:
        raise ParameterError("l1_reg", received=repr(rule), valid='None, an int >= 1, "aic", "bic" or a number above 0')
    return np.sort(np.asarray(kept, np.int64)) if len(kept) else np.array([np.abs(x.T @ y).argmax()])


def _noise(x: np.ndarray, y: np.ndarray) -> float:
    """The variance that least squares leave, which scikit-learn cannot estimate without spare rows."""
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float((residual**2).sum() / max(len(y) - x.shape[1], 1)) or 1e-12
