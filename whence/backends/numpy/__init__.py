"""NumPy: black boxes. Any callable from arrays to arrays, and scikit-learn estimators; no gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from whence.backends.numpy.model import CallableModel, EstimatorModel
from whence.backends.numpy.ops import NumpyOps, ops
from whence.core.backend import Backend
from whence.core.model import Model, Options


class NumpyBackend(Backend):
    """The backend of last resort: what no framework claims is a function on arrays."""

    name = "numpy"
    framework = "numpy"
    ops: NumpyOps = ops

    def adapts(self, target: Any) -> bool:
        return EstimatorModel.output_method(target) is not None

    def adapt(self, target: Any, options: Options | None) -> Model:
        return (EstimatorModel if self.adapts(target) else CallableModel)(target, options)

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}


backend = NumpyBackend()
