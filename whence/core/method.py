"""A method is the paper's formula as an immutable object: hyper-parameters in the constructor, data in the call."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import Any, ClassVar, Literal, overload

import numpy as np

from whence.core.backend import adapt, backend_of_tensor
from whence.core.conservation import Conserve
from whence.core.context import Context, Leaves, Work
from whence.core.errors import BackendError, CapabilityError, ParameterError, ZeroAttributionWarning, warn_user
from whence.core.explanation import Explanation, Provenance
from whence.core.feature_values import FeatureValues
from whence.core.model import Model
from whence.core.ops import Ops, Tensor
from whence.core.passes import Passes
from whence.core.place import Neuron, Place
from whence.core.target import Target
from whence.core.tree import Structure, flatten
from whence.core.validation import all_zero, batch_of, floating_leaves, positive_int, require_finite


@dataclass(frozen=True)
class Attribution:
    """What ``compute`` gives: one tensor ``[B, ...]`` per attributed tensor, and what the method knows besides.

    ``baseline_score[B]`` makes the engine report the completeness gap. A method whose values do not stand for the
    attributed tensors one by one, maps of an image say, gives their ``structure``.
    """

    values: Leaves
    baseline_score: Tensor | None = None
    structure: Structure | None = None
    std_error: Leaves | None = None
    features: FeatureValues | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """Base of all methods.

    ``layer`` names the layer whose output is attributed, the inputs if None: the method is then applied to the rest of
    the network as a function of that layer's output. A baseline is still given as an input, and its activation is the
    baseline at the layer. ``neuron`` explains one activation, ``("conv2", (3, 4, 4))``,
    instead of the model's output; its index leaves out the batch axis.
    """

    name: ClassVar[str]
    """The snake_case name for ``whence.explain`` and the command line."""
    needs_gradient: ClassVar[bool] = True
    attributes_whole_numbers: ClassVar[bool] = False
    """Whether inputs of whole numbers are attributed too, as methods without gradients can, or held fixed."""
    needs_layers: ClassVar[bool] = False
    """Whether the model must have layers that can be named, as no black box has."""
    moves_to_layer: ClassVar[bool] = True
    """Whether ``layer`` names what is attributed; methods that look at layers from the inputs say False."""
    shares_passes: ClassVar[bool] = False
    """Whether the model is run on the same variants whatever the target, so that several are explained together."""
    explains_score: ClassVar[bool] = True
    """Whether there is a score at all: activations have none, and no target."""
    view: ClassVar[str] = "attributions"
    """What the values are, for pictures: ``"attributions"``, one ``"map"`` of places, or ``"activations"``."""

    layer: str | tuple[str, ...] | None = None
    neuron: Neuron | None = None

    @abstractmethod
    def compute(self, ctx: Context) -> Attribution:
        """The formula."""

    @overload
    def explain(
        self, model: Any, inputs: Any, target: Any = None, *, multi_target: Literal[False] = False,
        batch_size: int | None = None, progress: bool = False,
    ) -> Explanation: ...  # fmt: skip

    @overload
    def explain(
        self, model: Any, inputs: Any, target: Any = None, *, multi_target: Literal[True],
        batch_size: int | None = None, progress: bool = False,
    ) -> tuple[Explanation, ...]: ...  # fmt: skip

    def explain(
        self, model: Any, inputs: Any, target: Any = None, *, multi_target: bool = False,
        batch_size: int | None = None, progress: bool = False,
    ) -> Explanation | tuple[Explanation, ...]:  # fmt: skip
        """Attribute the model's score to its inputs.

        ``inputs``: a tensor ``[B, ...]``, or a tuple, list or dict of them, of the model's framework or NumPy.
        ``target``: None (each sample's predicted class, or the value of a single output), an int, a tuple index into a
        multi-dimensional output, a sequence of one per sample, or a callable ``outputs -> score[B]``.
        With ``multi_target``, ``target`` is a sequence of such targets without None, and an explanation of each comes
        back, all from the same passes of the model.
        ``batch_size``: model rows in one call, chosen from a memory budget if None; it never changes a result.
        Raises the errors of ``whence.errors``.
        """
        began = perf_counter()
        if batch_size is not None:
            positive_int("batch_size", batch_size)
        leaves, structure = flatten(inputs)
        adapted = adapt(model, example=leaves[0])
        self._require_capability(adapted)
        native = tuple(_native(adapted, name, leaf) for name, leaf in zip(structure.names, leaves, strict=True))
        ops = adapted.ops
        batch = batch_of(ops, structure.names, native)
        place = self._place(ops, structure, native)
        adapted.check(structure.names, native)
        for name, leaf in zip(structure.names, native, strict=True):
            require_finite(ops, name, leaf)
        if self.neuron is not None and target is not None:
            raise ParameterError("target together with neuron", received=repr(target), valid="one of the two")
        if multi_target and not self.shares_passes:
            raise self._refusal_of_several()
        targets = Target.parse_several(target, batch) if multi_target else (Target.parse(target, batch),)
        with adapted.hold(), _bar(progress, self.name) as (expect, advance):
            work = Work(rows=batch_size, fixed_rows=batch_size is not None, advance=advance, expect=expect)
            x = tuple(native[i] for i in place.leaves)
            first = Context(adapted, place, native, x, targets[0], tuple(range(batch)), work)
            if place.layer is not None:
                first = first.at_layer(place.layer)
            work.passes = Passes() if multi_target else None
            found = [self._found(replace(first, given_target=one), i) for i, one in enumerate(targets)]
        packed = tuple(_packed(self, *parts, leaves, perf_counter() - began) for parts in found)
        packed = tuple(replace(each, conserve=self._conserve(model, inputs, target)) for each in packed)
        return packed if multi_target else packed[0]

    def _conserve(self, model: Any, inputs: Any, target: Any) -> Conserve | None:
        """What ``Explanation.conservation`` calls; None where no relevance is handed back layer by layer."""
        return None

    def _found(self, ctx: Context, turn: int) -> tuple[Context, Attribution, Tensor | None, Target]:
        """What there is to say of one target: the context, the attribution, the score and what was explained."""
        if ctx.work.passes is not None:
            ctx.work.passes.turn_of(turn)
        found = self.compute(ctx)
        return ctx, found, *((ctx.score, ctx.target) if self.explains_score else (None, ctx.given_target))

    def _place(self, ops: Ops, structure: Structure, leaves: Leaves) -> Place:
        if not self.moves_to_layer:
            floating = tuple(i for i, leaf in enumerate(leaves) if ops.is_floating(leaf))
            return Place(structure, floating, None, self.neuron)
        if isinstance(self.layer, tuple):
            raise ParameterError("layer", received=repr(self.layer), valid=f"the name of one layer for {self.name}")
        if self.layer is not None:
            return Place(structure, (), self.layer, self.neuron)
        if self.attributes_whole_numbers:
            return Place(structure, tuple(range(len(leaves))), None, self.neuron)
        return Place(structure, floating_leaves(ops, structure.names, leaves), None, self.neuron)

    def _require_capability(self, model: Model) -> None:
        if model.differentiable or not (self.needs_gradient or self.needs_layers):
            return
        from whence.core.registry import black_box_methods

        names = black_box_methods()
        others = f"; for black boxes: {', '.join(names)}" if names else ""
        raise CapabilityError(
            f"{self.name}, a method that needs {'gradients' if self.needs_gradient else 'layers'}",
            received=f"a black box ({model.describe()})",
            valid="a model of torch, jax or tensorflow; for a plain function on the arrays of one of these, "
            f"whence.wrap(function, framework=...){others}",
        )

    def _refusal_of_several(self) -> CapabilityError:
        from whence.core.registry import method_class, method_names

        names = ", ".join(name for name in method_names() if method_class(name).shares_passes)
        return CapabilityError(
            f"{self.name} with multi_target",
            received="a method that runs the model for each target by itself",
            valid=f"one call for each target, or one of {names}",
        )

    @property
    def params(self) -> dict[str, Any]:
        """The hyper-parameters by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __repr__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        shown = (f"{k}={v!r}" for k, v in given.items() if k not in ("layer", "neuron") or v is not None)
        return f"{type(self).__name__}({', '.join(shown)})"


def _native(model: Model, name: str, leaf: Any) -> Tensor:
    """An input as the model's own tensor; NumPy is placed on its device, other frameworks only when asked."""
    ops = model.ops
    if ops.is_tensor(leaf):
        return ops.stop_gradient(leaf)
    if isinstance(leaf, np.ndarray):
        return model.place(leaf)
    if model.options.convert and hasattr(leaf, "__dlpack__"):
        return model.place(np.asarray(leaf.detach().cpu() if hasattr(leaf, "detach") else leaf))
    raise BackendError(
        f"{name} for a model of {ops.name}",
        received=f"{type(leaf).__module__}.{type(leaf).__name__}",
        valid=f"tensors of {ops.name} or NumPy arrays, or whence.wrap(model, convert=True)",
    )


@contextmanager
def _bar(progress: bool, name: str) -> Iterator[tuple[Any, Any]]:
    """Callbacks (expect, advance) that count model rows; a bar on the terminal where asked."""
    if not progress:
        yield (lambda rows: None), (lambda rows: None)
        return
    from tqdm.auto import tqdm

    with tqdm(total=0, desc=name, unit="row") as bar:

        def expect(rows: int) -> None:
            bar.total += rows
            bar.refresh()

        yield expect, bar.update


def _packed(
    method: Method, ctx: Context, found: Attribution, score: Tensor | None, target: Target, given: Any, seconds: float
) -> Explanation:
    """Check what was computed and put it into the user's structure and kind of array."""
    ops, place = ctx.ops, ctx.place
    if score is not None:
        require_finite(ops, f"{method.name}: the model's score", score)
    if found.baseline_score is not None:
        require_finite(ops, f"{method.name}: the model's score at the baseline", found.baseline_score)
    for i, value in enumerate(found.values):
        if found.structure is not None:
            what = f"{method.name} of {found.structure.names[i]}" if found.structure.keys else method.name
        else:
            named = place.layer or place.structure.names[place.leaves[i]]
            about = "the gradient with respect to" if method.needs_gradient else "the attribution of"
            what = f"{method.name}: {about} {named}"
        require_finite(ops, what, value)
    if all(all_zero(ops, v) for v in found.values):
        warn_user(
            f"{method.name}: every attribution is exactly zero. Does the score depend on the input? A saturated "
            "output, a baseline equal to the input or a detached computation looks like this.",
            ZeroAttributionWarning,
        )
    all_numpy = all(isinstance(leaf, np.ndarray) for leaf in given) and ops.name != "numpy"

    def user(value: Tensor | None) -> Any:
        return None if value is None else (ops.to_numpy(value) if all_numpy else value)

    def user_tree(values: Leaves | None) -> Any:
        if values is None:
            return None
        if found.structure is not None:
            return found.structure.unflatten([user(v) for v in values])
        dtypes = (ops.dtype(x if ops.is_floating(x) else score) for x in ctx.x)
        values = tuple(ops.astype(v, dtype) for v, dtype in zip(values, dtypes, strict=True))
        if place.layer is not None:
            return user(values[0])
        by_leaf = dict(zip(place.leaves, values, strict=True))
        return place.structure.unflatten([user(by_leaf.get(i)) for i in range(len(ctx.inputs))])

    delta = None
    if found.baseline_score is not None:
        delta = ops.astype(_total(ops, found, score), ops.dtype(score)) - (score - found.baseline_score)
    return Explanation(
        attributions=user_tree(found.values), target=target.classes, score=user(score),
        baseline_score=user(found.baseline_score), delta=user(delta), std_error=user_tree(found.std_error),
        method=method.name, params=method.params, provenance=_provenance(method, ctx, found, seconds),
        inputs=place.structure.unflatten(list(given)), features=found.features, view=method.view,
    )  # fmt: skip


def _total(ops: Ops, found: Attribution, score: Tensor) -> Tensor:
    """The sum of each sample's attributions ``[B]``; a feature of several numbers counts once."""
    if found.features is not None:
        values = found.features.values
        return ops.asarray(values.sum(axis=1, where=~np.isnan(values)), like=score)
    totals = [ops.sum(v, axis=tuple(range(1, len(ops.shape(v))))) if len(ops.shape(v)) > 1 else v for v in found.values]
    total = totals[0]
    for more in totals[1:]:
        total = total + more
    return total


@cache
def _own_versions() -> dict[str, str]:
    try:
        own = version("whence")
    except PackageNotFoundError:
        own = "source"
    return {"whence": own, "python": platform.python_version(), "numpy": np.__version__}


def _provenance(method: Method, ctx: Context, found: Attribution, seconds: float) -> Provenance:
    model, x = ctx.model, (*ctx.x, *ctx.inputs)[0]
    coverage = (ctx.work.ruled or model).coverage
    return Provenance(
        versions={**_own_versions(), **backend_of_tensor(x).versions()},
        backend=model.ops.name, model=model.describe(), device=model.ops.device(x), dtype=model.ops.dtype(x),
        precision=model.ops.matmul_precision(x), layout=model.options.layout or model.default_layout,
        seed=getattr(method, "seed", None), batch_size=ctx.rows(gradient=method.needs_gradient),
        forward=ctx.work.forward_rows, backward=ctx.work.backward_rows, seconds=seconds,
        coverage=None if coverage is None else coverage.summary(), notes=dict(found.notes),
    )  # fmt: skip
