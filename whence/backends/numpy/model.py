"""Black boxes: the model is a function from arrays to arrays, without layers and without gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from whence.backends.numpy.ops import NumpyOps, ops
from whence.core.errors import CapabilityError
from whence.core.layers import LayerCalls
from whence.core.model import Edit, Leaf, Model, reference
from whence.core.ops import Tensor
from whence.core.tree import sequence


class CallableModel(Model):
    """Any callable from arrays to arrays."""

    ops: NumpyOps = ops
    differentiable = False

    def layers(self) -> tuple[str, ...]:
        return ()

    def place(self, value: Any) -> Tensor:
        return np.asarray(value)

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        args, kwargs = self._arguments(_own(inputs))
        output = self._select_output(self._call(*args, **kwargs))
        return _numbers(output), LayerCalls(edits, taps).finish(self.layers)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        return self.target(*args, **kwargs)

    def _build(self, leaf: Leaf) -> Callable[..., Any]:
        make, options, target = type(self), self.options, reference(self.target)
        return lambda *tensors: leaf(make(target(), options).run, *tensors)


class EstimatorModel(CallableModel):
    """A scikit-learn estimator: ``predict_proba``, else ``decision_function``, else ``predict``.

    ``whence.wrap(estimator, output="decision_function")`` chooses another of them.
    """

    METHODS = ("predict_proba", "decision_function", "predict")

    @classmethod
    def output_method(cls, target: Any) -> str | None:
        """The method whose values are explained if the user names none."""
        return next((name for name in cls.METHODS if callable(getattr(target, name, None))), None)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        name = self.options.output if self.options.output in self.METHODS else self.output_method(self.target)
        method = getattr(self.target, str(name), None)
        if method is None:
            raise CapabilityError(
                f"output {name!r}",
                received=self.describe(),
                valid=", ".join(n for n in self.METHODS if hasattr(self.target, n)),
            )
        return method(*args, **kwargs)

    def _select_output(self, output: Any) -> Tensor:
        return output if self.options.output in self.METHODS else super()._select_output(output)


def _own(inputs: Any) -> Any:
    """Copies that the model may write on."""
    if isinstance(inputs, dict):
        return {key: np.array(x) for key, x in inputs.items()}
    return sequence(type(inputs), map(np.array, inputs)) if isinstance(inputs, (tuple, list)) else np.array(inputs)


def _numbers(output: Tensor) -> Tensor:
    """Labels and counts as floating-point scores."""
    return output if np.issubdtype(output.dtype, np.floating) else output.astype(np.float64)
