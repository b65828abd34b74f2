"""Operations that a program spells out in several steps, found again: gelu, softmax, log_softmax, logsumexp.

A composite is put behind the last of its steps and writes what that wrote. The steps stay; where nothing else reads
them, the compiler drops them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from whence.backends.jax.kinds import KINKED, UNIFORM, VALUE_BY_VALUE
from whence.backends.jax.steps import Slot, Step
from whence.core.folding import STEPS, scale_and_bias
from whence.core.ops import Tensor
from whence.core.pointwise import Pointwise

RESHAPES = UNIFORM | {"transpose"}
SHIFTS = RESHAPES | {"stop_gradient", "max", "select_n"}
"""What the maximum goes through on its way to be subtracted."""


@dataclass
class Composite(Step):
    """Several steps as one operation on the root, which is its first input; the others are what the steps read."""

    steps: tuple[Step, ...] = ()

    def call(self, *xs: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(self.inputs, xs, strict=True))
        for step in self.steps:
            values.update(zip(step.outputs, step.call(*(values[slot] for slot in step.inputs)), strict=True))
        return tuple(values[slot] for slot in self.outputs)


@dataclass
class Constants(Step):
    """The scale, if there is one, and the bias that constants behind a product come to."""

    names: tuple[str, ...] = ()
    dtype: Any = None

    def call(self, *xs: Tensor) -> tuple[Tensor, ...]:
        found = scale_and_bias(list(zip(self.names, xs, strict=True)))
        return tuple(constant.astype(self.dtype) for constant in found if constant is not None)


@dataclass(kw_only=True)
class Folded(Step):
    """A product with the scale and the bias behind it, which are its last inputs, in the precision of these."""

    product: Step
    constants: Constants

    def call(self, *xs: Tensor) -> tuple[Tensor, ...]:
        given = len(self.product.inputs)
        (z,) = self.product.call(*xs[:given])
        z = z.astype(xs[-1].dtype)
        return (z + xs[-1] if self.params["scale"] is None else z * xs[-2] + xs[-1],)


class Composites:
    """Looks at the steps of a program in order."""

    def __init__(self, avals: list[Any]) -> None:
        self.avals = avals
        self.pointwise = Pointwise()
        self.made_by: dict[Slot, Step] = {}

    def look(self, step: Step) -> tuple[Step, ...]:
        """The composites that a step completes, the largest first, and the step itself."""
        found = self._elementwise(step) or self._of_softmax(step) or self._with_constants(step) or step
        together = self._activated(step) if found.kind in ("relu", "elementwise") else None
        self.made_by.update((slot, step) for slot in step.outputs)
        return tuple(whole for whole in (together, found, step) if whole is not None)

    # -- elementwise ---------------------------------------------------------------------------------------------
    def _elementwise(self, step: Step) -> Step | None:
        is_by_value = step.name in VALUE_BY_VALUE or step.kind == "elementwise" or step.is_seen
        if not is_by_value or not step.data or len(step.outputs) != 1:
            return None
        data = [step.inputs[i] for i in step.data]
        if any(self.avals[slot].shape != self.avals[step.outputs[0]].shape for slot in data):
            return None
        root = self.pointwise.root(data, self._is_floating)
        if not isinstance(root, int):
            return None
        self.pointwise.add(step.outputs[0], root)
        if step.kind in ("linear", "discrete", "relu") or data == [root]:
            return None
        return self._composite("elementwise", step, root, {})

    def _is_floating(self, slot: Any) -> bool:
        return bool(jnp.issubdtype(self.avals[slot].dtype, jnp.floating))

    # -- softmax and its logarithm ---------------------------------------------------------------------------------
    def _of_softmax(self, step: Step) -> Step | None:
        if step.name == "div" and step.kind == "div":
            return self._quotient(step)
        if step.name == "log":
            found = self._log_of_sum(step.inputs[0])
            return None if found is None else self._composite("logsumexp", step, found[0], {"axis": found[1]})
        if step.name == "sub" and len(step.data) == 2:
            inner = self._behind(step.inputs[1], "log")
            found = None if inner is None else self._log_of_sum(inner.inputs[0])
            if found is not None and found[0] == step.inputs[0]:
                return self._composite("log_softmax", step, self._unshifted(found[0]), {"axis": found[1]})
        return None

    def _quotient(self, step: Step) -> Step | None:
        """exp(s) / sum(exp(s)), or the same with the sum taken from it in any shape."""
        top, total = self.made_by.get(step.inputs[0]), self._behind(step.inputs[1], "reduce_sum")
        if top is None or top.name != "exp" or total is None or total.inputs[0] != step.inputs[0]:
            return None
        return self._composite("softmax", step, self._unshifted(top.inputs[0]), {"axis": tuple(total.params["axes"])})

    def _log_of_sum(self, slot: Slot) -> tuple[Slot, tuple[int, ...]] | None:
        """Root and axes, where the value is sum(exp(root))."""
        # the absolute value is there for signed sums
        total = self._behind(slot, "reduce_sum", past=RESHAPES | {"abs"})
        top = None if total is None else self.made_by.get(total.inputs[0])
        if total is None or top is None or top.name != "exp":
            return None
        return top.inputs[0], tuple(total.params["axes"])

    def _unshifted(self, slot: Slot) -> Slot:
        """What stands behind x - max(x), which keeps an exponential from overflowing."""
        step = self.made_by.get(slot)
        if step is None or step.name != "sub":
            return slot
        shift = self.made_by.get(step.inputs[1])
        while shift is not None and shift.name in SHIFTS:
            shift = self.made_by.get(shift.inputs[shift.data[-1]] if shift.data else shift.inputs[0])
        is_max = shift is not None and shift.name == "reduce_max" and shift.inputs[0] == step.inputs[0]
        return step.inputs[0] if is_max else slot

    def _behind(self, slot: Slot, name: str, past: frozenset[str] = RESHAPES) -> Step | None:
        """The operation of that name that made the value, changes of shape aside."""
        step = self.made_by.get(slot)
        while step is not None and step.name in past:
            step = self.made_by.get(step.inputs[0])
        return step if step is not None and step.name == name else None

    # -- affine ------------------------------------------------------------------------------------------------------
    def _with_constants(self, step: Step) -> Step | None:
        """What scales or shifts a product with constant weights, batch normalisation for one, as part of it."""
        steps: list[tuple[str, Slot]] = []
        layers, at = step.layers, self._scaling(step)
        while at is not None:
            before, steps = at[0], [at[1], *steps]
            if before.kind == "affine":
                return self._folded(before, steps, step, tuple(dict.fromkeys((*before.layers, *layers))))
            at, layers = self._scaling(before), (*before.layers, *layers)
        return None

    def _scaling(self, step: Step) -> tuple[Step, tuple[str, Slot]] | None:
        """What made the value that a step scales or shifts by a constant, and how."""
        if step.name not in STEPS or len(step.data) != 1 or (step.name in ("sub", "div") and step.data != (0,)):
            return None
        x, before = step.inputs[step.data[0]], self.made_by.get(step.inputs[step.data[0]])
        while before is not None and (before.is_seen or before.name == "convert_element_type"):
            # what is a whole number or a truth value is no product
            before = self.made_by.get(before.inputs[0])
        grows = self.avals[x].shape != self.avals[step.outputs[0]].shape
        return None if before is None or grows else (before, (step.name, step.inputs[1 - step.data[0]]))

    def _folded(self, product: Step, steps: Sequence[tuple[str, Slot]], last: Step, layers: tuple[str, ...]) -> Step:
        """The product z as z S + T; S and T come from a step of their own, of which no part depends on the data."""
        names, slots = zip(*steps, strict=True)
        made, dtype = [], self.avals[last.outputs[0]].dtype
        for _ in range(2 if {"mul", "div"} & set(names) else 1):
            shape = jnp.broadcast_shapes(*(self.avals[slot].shape for slot in slots))
            self.avals.append(jax.ShapeDtypeStruct(shape, dtype))
            made.append(len(self.avals) - 1)
        count, is_scaled = len(product.inputs), len(made) == 2
        constants = Constants(last.primitive, {}, slots, tuple(made), (), "constants", "constants", (), names=names,
                              dtype=dtype)  # fmt: skip
        params = {"conv": product.name.startswith("conv"), "scale": count if is_scaled else None,
                  "bias": count + is_scaled, "kinked": False}  # fmt: skip
        inputs = (*product.inputs, *made)
        return Folded(
            last.primitive, params, inputs, last.outputs, product.data, "affine", product.name,
            tuple(self.avals[slot] for slot in inputs), layers=layers, product=product, constants=constants,
        )  # fmt: skip

    def _activated(self, step: Step) -> Step | None:
        """A step that is an elementwise function of what an affine operation gave, with that operation."""
        for slot in self.pointwise.chain(step.outputs[0])[1:]:
            assert isinstance(slot, int)
            affine = self.made_by.get(slot)
            if affine is not None and affine.kind == "affine":
                is_next = slot in step.inputs and len(step.data) == 1
                activation = step if is_next else self._composite("elementwise", step, slot, {})
                whole = self._composite("activated", step, affine.inputs[affine.data[0]], {})
                whole.name, whole.parts = f"{affine.name}, {step.name}", (affine, activation)
                return whole
        return None

    # -- putting together ----------------------------------------------------------------------------------------------
    def _composite(self, kind: str, last: Step, root: Slot, params: dict[str, Any]) -> Composite:
        steps = [*self._between(last, root, set()), last]
        inside = {slot for step in steps for slot in step.outputs}
        read = dict.fromkeys(slot for step in steps for slot in step.inputs if slot not in inside and slot != root)
        inputs = (root, *read)
        kinked = any(step.name in KINKED or step.params.get("kinked") for step in steps)
        return Composite(
            last.primitive, {**params, "kinked": kinked, "power": None}, inputs, last.outputs, (0,), kind,
            last.name if kind in ("elementwise", "affine") else kind,
            tuple(self.avals[slot] for slot in inputs), steps=tuple(steps),
        )  # fmt: skip

    def _between(self, step: Step, root: Slot, seen: set[int]) -> Iterator[Step]:
        """Steps on the way from the root to a step, in the order in which they run."""
        for slot in step.inputs:
            before = self.made_by.get(slot)
            if slot != root and before is not None and before.data and id(before) not in seen:
                seen.add(id(before))
                yield from self._between(before, root, seen)
                yield before
