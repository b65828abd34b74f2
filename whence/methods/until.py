"""When a sampling method may stop."""

from __future__ import annotations

import numpy as np


def reached(values: np.ndarray, error: np.ndarray, tol: float) -> bool:
    """Whether for every sample the norm of the standard errors is within ``tol`` of that of the values ``[B, F]``."""
    return bool((np.linalg.norm(error, axis=1) <= tol * np.linalg.norm(values, axis=1)).all())
