"""TensorFlow models as users have them: plain functions, ``tf.function``, SavedModels and their signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from whence.backends.tensorflow.ops import TensorflowOps, ops
from whence.backends.tensorflow.traced import TracedLeaf, with_known_shape
from whence.core.errors import BackendError, DTypeError
from whence.core.layers import LayerCalls, Within
from whence.core.model import Edit, Leaf, Model, reference
from whence.core.ops import Tensor
from whence.core.rule import RuleSet


class TensorflowModel(Model):
    """What all TensorFlow models share: leaves are traced into graphs that hold the weights by reference."""

    ops: TensorflowOps = ops

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = (),
        within: Within | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        calls = LayerCalls(edits, taps, within)
        with self._listening(calls):
            output = self._call(inputs)
        rows = tf.nest.flatten(inputs)[0].shape[0]
        tapped = calls.finish(self.layers)
        return with_known_shape(output, rows), {name: with_known_shape(x, rows) for name, x in tapped.items()}

    @contextmanager
    def _listening(self, calls: LayerCalls) -> Iterator[None]:
        """Report the calls of layers to ``calls``, in this thread."""
        yield

    def _call(self, inputs: Any) -> Tensor:
        args, kwargs = self._arguments(inputs)
        return self._select_output(self.target(*args, **kwargs))

    def _select_output(self, output: Any) -> Tensor:
        if self.options.output is None and isinstance(output, Mapping) and len(output) == 1:
            return super()._select_output(next(iter(output.values())))
        return super()._select_output(output)

    def layers(self) -> tuple[str, ...]:
        return ()

    def _build(self, leaf: Leaf) -> Callable[..., Any]:
        again = self._weak()
        return TracedLeaf(lambda *tensors: leaf(again().run, *tensors))

    def _weak(self) -> Callable[[], TensorflowModel]:
        """A function that makes this model again, referring weakly to the user's."""
        target, make, options = reference(self.target), type(self), self.options
        return lambda: make(target(), options)

    def intercept(self, rules: RuleSet) -> Model:
        from whence.backends.tensorflow.intercept import InterceptedModel

        return InterceptedModel(self, rules)

    # -- the model's weights -----------------------------------------------------------------------------
    def variables(self) -> Sequence[Any]:
        """The ``tf.Variable`` objects of the model, where they are known."""
        try:
            found = getattr(self.target, "variables", None) or ()
        except AssertionError as error:
            raise BackendError(
                "a function with its weights",
                received="one whose SavedModel is no longer there",
                valid="a signature while the object that tf.saved_model.load gave is kept",
            ) from error
        return [v for v in found if isinstance(v, tf.Variable)]

    def place(self, value: Any) -> Tensor:
        with tf.device(next((v.device for v in self.variables()), None)):
            return tf.convert_to_tensor(value)

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        dtypes = {v.dtype for v in self.variables() if v.dtype.is_floating}
        for name, leaf in zip(names, leaves, strict=True):
            if self.options.preprocess is None and leaf.dtype.is_floating and dtypes and leaf.dtype not in dtypes:
                wanted = " or ".join(sorted(dtype.name for dtype in dtypes))
                raise DTypeError(
                    f"{name} for a model of {wanted} variables",
                    received=leaf.dtype.name,
                    valid=f"inputs of {wanted}, or the model built with dtype={leaf.dtype.name!r}",
                )


class FunctionModel(TensorflowModel):
    """A plain function on TensorFlow tensors, a ``tf.function``, a loaded SavedModel or one of its signatures."""

    def _call(self, inputs: Any) -> Tensor:
        function = _function_of(self.target)
        args, kwargs = self._arguments(inputs)
        args, kwargs = _by_keyword(function, args, kwargs)
        return self._select_output(function(*args, **kwargs))


FUNCTIONS = (tf.types.experimental.GenericFunction, tf.types.experimental.ConcreteFunction)
"""What ``tf.function`` makes, and the signatures of a loaded SavedModel."""


def is_loaded(target: Any) -> bool:
    """Whether ``tf.saved_model.load`` made this."""
    return isinstance(target, tf.__internal__.tracking.AutoTrackable) and hasattr(target, "signatures")


def _function_of(target: Any) -> Any:
    """What to call: a SavedModel without a call of its own is called through its signature."""
    if callable(target):
        return target
    signatures = dict(target.signatures)
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    if "serving_default" in signatures:
        return signatures["serving_default"]
    raise BackendError(
        "a call of the loaded SavedModel",
        received=f"signatures {sorted(signatures)}",
        valid="one of its signatures, such as loaded.signatures[name]",
    )


def _by_keyword(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional arguments under their names for a signature, which takes keywords only."""
    positional, named = getattr(function, "structured_input_signature", None) or ((None,), {})
    if positional or not named:
        return args, kwargs
    # names come sorted, and so cannot tell which of several tensors is which
    if len(args) > 1 or (args and len(named) != 1 + len(kwargs)):
        raise BackendError(
            "inputs by position",
            received="a signature that takes them by name",
            valid="a dict with the keys " + ", ".join(sorted(named)),
        )
    free = [name for name in named if name not in kwargs]
    return (), {**dict(zip(free, args, strict=True)), **kwargs} if args else kwargs
