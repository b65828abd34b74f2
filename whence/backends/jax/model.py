"""What all JAX models share: parameters are arguments of compiled code, layers are marks in the traced program."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.custom_batching import custom_vmap

from whence.backends.jax.ops import JaxOps, ops
from whence.backends.jax.program import Edited, Program, RuleOf, trace
from whence.backends.jax.static import Static
from whence.core.errors import DTypeError, LayerError, TrainingModeWarning, warn_user
from whence.core.layers import LayerCalls, Put, Seen, split_call
from whence.core.model import CompiledStore, Edit, Leaf, Model, reference
from whence.core.ops import Tensor
from whence.core.rule import RuleSet

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

MARK = "whence:"
"""Begins the name of an operation that marks a layer's output."""


class _Held(threading.local):
    """The states that a thread's explanations hold, by the user's models."""

    def __init__(self) -> None:
        self.states: dict[CompiledStore, tuple[Static, Any]] = {}


_held = _Held()


class JaxModel(Model):
    """A user's model as a function of its state, so that changed parameters are seen without compiling again.

    An adapter says what the state is and how to call the model with it. Taps and edits are made on the traced program,
    in which the outputs of the wanted layers are marked.
    """

    ops: JaxOps = ops

    # -- what an adapter fills in ------------------------------------------------------------------------
    @abstractmethod
    def read_state(self) -> tuple[Static, Any]:
        """What the user's model is now: all that is no array, and a pytree of arrays."""

    @abstractmethod
    def call(self, static: Static, arrays: Any, args: Args, kwargs: Kwargs, calls: LayerCalls) -> Any:
        """Call the model in that state, in inference mode, handing the output of each wanted layer to ``calls``."""

    def layer_of(self, name: str) -> str | None:
        """The layer that an operation of this name marks."""
        return name.removeprefix(MARK) if name.startswith(MARK) else None

    # -- shared by all -----------------------------------------------------------------------------------
    def state(self) -> tuple[Static, Any]:
        """The state that this thread holds the model in, or what it is now."""
        held = _held.states.get(self.store)
        if held is not None:
            return held
        static, arrays = self.read_state()
        return self.known(static), arrays

    def known(self, static: Static) -> Static:
        """The equal one of an earlier call, which compiled code recognises without comparing."""
        found: Static = self.store.get(("state", static), lambda: static)
        return found

    @contextmanager
    def hold(self) -> Iterator[Self]:
        """Read the user's model once: a training step in between is seen by the next explanation."""
        if self.store in _held.states:
            yield self
            return
        _held.states[self.store] = self.state()
        try:
            yield self
        finally:
            del _held.states[self.store]

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.run_in(*self.state(), inputs, edits=edits, taps=taps)

    def run_in(
        self,
        static: Static,
        arrays: Any,
        inputs: Any,
        *,
        edits: Mapping[str, Edit] | None = None,
        taps: Sequence[str] = (),
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``run`` in a given state."""
        calls = LayerCalls(edits, taps)
        if not calls.wanted and not calls.every:
            return self._output(static, arrays, inputs, calls), {}
        program, args = self.program(static, arrays, inputs, calls)
        output = program.run(args, calls)[0]
        return output, calls.finish(lambda: tuple(dict.fromkeys((*self.layers(), *program.marks))))

    def program(
        self,
        static: Static,
        arrays: Any,
        inputs: Any,
        calls: LayerCalls,
        rule_of: RuleOf | None = None,
    ) -> tuple[Program, list[Tensor]]:
        """The forward pass with the wanted layers marked, and its arguments."""
        args, structure = jax.tree_util.tree_flatten((arrays, inputs))
        n_state = len(jax.tree_util.tree_leaves(arrays))

        def forward(*args: Tensor) -> Tensor:
            marks = LayerCalls({layer: partial(self._mark, layer) for layer in calls.wanted}, (), calls.within)
            arrays, inputs = jax.tree_util.tree_unflatten(structure, args)
            output = self._output(static, arrays, inputs, marks)
            calls.several |= marks.several
            calls.begun.update(marks.begun)
            return output

        def wanted(name: str) -> str | None:
            layer = self.layer_of(name)
            return layer if layer in calls.wanted or calls.every else None

        def traced() -> Program:
            kinds = (object, Put, Seen)
            by_kind = ([name for name, edit in calls.edits.items() if isinstance(edit, kind)] for kind in kinds)
            edited = Edited(*(frozenset(split_call(name)[0] for name in names) for names in by_kind))
            data = [i >= n_state for i in range(len(args))]
            return trace(forward, args, data, mark=wanted, edited=edited, rule_of=rule_of)

        program = traced()
        if (set(calls.wanted) - program.marks | calls.unbegun()) & set(self.layers()):
            # JAX does not call code again that it has compiled, nor a loop's body for each turn
            try:
                with jax.disable_jit():
                    unrolled = traced()
            except jax.errors.JAXTypeError:
                return program, args
            program = unrolled if unrolled.marks > program.marks or calls.scoped else program
        return program, args

    def _output(self, static: Static, arrays: Any, inputs: Any, calls: LayerCalls) -> Tensor:
        args, kwargs = self._arguments(inputs)
        return self._select_output(self.call(static, arrays, args, kwargs, calls))

    def _mark(self, layer: str, output: Any) -> Tensor:
        if not isinstance(output, jax.Array):
            raise LayerError(
                f"layer {layer!r}",
                received=f"an output of type {type(output).__name__}",
                valid="a layer whose output is an array, or a tuple that starts with one",
            )
        return checkpoint_name(output, MARK + layer)

    def _build(self, leaf: Leaf) -> Callable[..., Any]:
        again = self.again()

        def traced(static: Static, arrays: Any, *tensors: Any) -> Any:
            return leaf(partial(again().run_in, static, arrays), *tensors)

        compiled = jax.jit(traced, static_argnums=0)

        def call(*tensors: Any) -> Any:
            model = again()
            found = compiled(*model.state(), *tensors)
            if ops.on_host(tensors):
                # chunks that run side by side on a CPU push each other out of its caches, and need memory for each
                jax.block_until_ready(found)
            model.after_call()
            return found

        return call

    def after_call(self) -> None:
        """Told when compiled code has run."""

    def again(self) -> Callable[[], JaxModel]:
        """A function that makes this model again, referring weakly to the user's."""
        target, make, options, store = reference(self.target), type(self), self.options, self.store

        def bound() -> JaxModel:
            model = make(target(), options)
            model.store = store
            return model

        return bound

    def place(self, value: Any) -> Tensor:
        value = np.asarray(value)
        whole = value.dtype.kind in "iu"
        narrowed = whole and value.dtype.itemsize == 8 and value.size and not jax.config.jax_enable_x64
        if narrowed and not -(2**31) <= value.min() <= value.max() < 2**31:
            raise DTypeError(
                f"inputs of {value.dtype}",
                received=f"{value.min()} to {value.max()}, with jax_enable_x64 off",
                valid="whole numbers of 32 bits, or jax.config.update('jax_enable_x64', True)",
            )
        # asked for by name, float64 raises where JAX would make it float32
        return ops.asarray(value, like=self._parameter(), dtype=None if whole else str(value.dtype))

    def _parameter(self) -> Tensor | None:
        """One array of the model, for its device."""
        arrays = jax.tree_util.tree_leaves(self.state()[1])
        return next((a for a in arrays if isinstance(a, jax.Array) and not _is_key(a)), None)

    def intercept(self, rules: RuleSet) -> Model:
        from whence.backends.jax.intercept import InterceptedModel

        return InterceptedModel(self, rules)


def _is_key(array: Any) -> bool:
    return bool(jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key))


def warn_of_training(layers: Sequence[str], target: Any) -> None:
    """Say that these kinds of layers are in training mode; called from ``hold``."""
    said = f"{', '.join(layers)} of {type(target).__name__} in training mode: run in inference mode for this call, "
    warn_user(said + "on a copy; your object stays as it is.", TrainingModeWarning)


def per_sample_mark(layer: str, output: Tensor) -> Tensor:
    """A mark inside ``vmap`` that ends up around the whole batch, the batch axis first."""

    @custom_vmap
    def mark(output: Tensor) -> Tensor:
        return checkpoint_name(output, MARK + layer)

    @mark.def_vmap
    def batched(_size: int, _batched: Any, output: Tensor) -> tuple[Tensor, bool]:
        return mark(output), True

    marked: Tensor = mark(output)
    return marked
