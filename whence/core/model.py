"""A model is one pure call, with taps that read layers and edits that replace their output.

A backend subclasses ``Model`` once per model style. Nothing of the user's model changes: whatever ``hold`` sets
is put back, after success and after an exception, with several threads inside as well.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from threading import RLock
from types import MethodType
from typing import Any, Self

from whence.core.errors import CapabilityError, ShapeError
from whence.core.layers import Every
from whence.core.layout import Layout
from whence.core.ops import Ops, Tensor
from whence.core.rule import Coverage, RuleSet
from whence.core.tree import sequence

Edit = Callable[[Tensor], Tensor]
Run = Callable[..., tuple[Tensor, dict[str, Tensor]]]
"""``run(inputs, *, edits=None, taps=()) -> (output, {layer: tensor})``"""
Leaf = Callable[..., Any]
"""``leaf(run, *tensors)``: the piece of work that is compiled once per model and chunk shape."""


@dataclass(frozen=True)
class Options:
    """What ``whence.wrap`` was told about a model.

    ``layout``: axis order of images, such as ``"NHWC"``. ``output``: which part of a structured output to explain,
    a key, an index, an attribute name or a callable. ``preprocess``: a native function applied to each input before
    the model, inside the derivative. ``kwargs``: further keyword arguments of every call. ``variables``: the
    parameters of a Flax linen module or of a plain ``fn(params, x)``. ``per_sample``: the model takes one sample
    without a batch axis. ``unpack``: whether a tuple or dict of inputs becomes the model's arguments.
    ``convert``: accept tensors of another framework.
    """

    layout: str | None = None
    output: str | int | Callable[[Any], Tensor] | None = None
    preprocess: Callable[[Tensor], Tensor] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    variables: Any = None
    per_sample: bool | None = None
    unpack: bool | None = None
    convert: bool = False


class CompiledStore:
    """Compiled leaves of one user's model: the most recent ones, shared by all threads."""

    size = 64

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = RLock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The entry of ``key``, made on first use."""
        with self._lock:
            if key not in self._entries:
                self._entries[key] = make()
            self._entries.move_to_end(key)
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)
            return self._entries[key]

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries


_stores: dict[int, tuple[weakref.ref[Any], CompiledStore]] = {}


def store_of(target: Any) -> CompiledStore:
    """The store that lives as long as ``target`` does; a fresh one where it cannot be referred to weakly."""
    if isinstance(target, MethodType):
        # made anew by each access, so its object's store has one for it
        methods: CompiledStore = store_of(target.__self__).get(("method", target.__func__), CompiledStore)
        return methods
    held = _stores.get(id(target))
    if held is not None and held[0]() is target:
        return held[1]
    store, key = CompiledStore(), id(target)
    with suppress(TypeError):
        _stores[key] = weakref.ref(target, lambda _: _stores.pop(key, None)), store
    return store


def reference(target: Any) -> Callable[[], Any]:
    """A weak reference where the object allows one: compiled code keeps no model alive."""
    if isinstance(target, MethodType):
        return weakref.WeakMethod(target)
    try:
        return weakref.ref(target)
    except TypeError:
        return lambda: target


class Model(ABC):
    """A user's model behind one call; see the module docstring.

    ``target`` is the user's object. Compiled code refers to it weakly, so that a cache never keeps a model alive.
    """

    ops: Ops
    differentiable: bool = True
    default_layout: str | None = None

    def __init__(self, target: Any, options: Options | None = None) -> None:
        self.target = target
        self.options = options or Options()
        self.store = store_of(target) if options is None else CompiledStore()

    # -- what a backend fills in -------------------------------------------------------------------------
    @abstractmethod
    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Call the model on inputs in the user's structure ``[B, ...]``.

        ``edits`` maps a layer to a function of its output that gives the value to go on with; ``taps`` names the
        layers whose output (after its edit) is wanted, or is ``Every`` of some layers. Of a layer whose output is a
        tuple, the first element counts. ``whence.core.layers`` says how calls and inputs of layers are written.
        """

    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, nested ones as paths."""

    @abstractmethod
    def place(self, value: Any) -> Tensor:
        """A native tensor, on the model's device, of a NumPy array."""

    @abstractmethod
    def _build(self, leaf: Leaf) -> Callable[..., Any]:
        """``leaf(run, *tensors)`` as a compiled function of the tensors, referring weakly to the user's model."""

    @contextmanager
    def hold(self) -> Iterator[Self]:
        """Keep the model in inference mode with frozen parameters for the duration, then put everything back."""
        yield self

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:  # noqa: B027
        """Raise DTypeError where the model cannot take the element types of the inputs."""

    def intercept(self, rules: RuleSet) -> Model:
        """The same model with the derivative of chosen operations replaced.

        Its ``run`` takes a ``reference`` as well, which runs beside the inputs, and then gives pairs (value, value of
        the reference) in the place of tensors. It raises CoverageError where no rule applies, or where an operation
        that has one escaped interception.
        """
        raise CapabilityError(
            f"backward rules {rules.name!r}",
            received=self.describe(),
            valid="a model of a framework with automatic differentiation",
        )

    @property
    def coverage(self) -> Coverage | None:
        """What backward rules met in the model; None for a model that is not intercepted."""
        return None

    @property
    def key(self) -> Hashable:
        """What compiled code depends on besides the leaf."""
        return None

    def describe(self) -> str:
        """A few words for error messages and provenance."""
        return f"{type(self.target).__module__.split('.')[0]} {type(self.target).__name__}"

    def before_activation(self, layer: str) -> str:
        """Where a layer's output stands before an activation that the layer has in itself."""
        return layer

    # -- shared ------------------------------------------------------------------------------------------
    def shapes(self, inputs: Any, points: Sequence[str] | None = None) -> dict[str, tuple[int, ...]]:
        """Shapes without the batch axis of what all layers give, or of ``points``, in the order of the forward pass.

        Calls of a layer that is called several times are numbered; layers that give no tensor are left out.
        """
        names: list[str] = []

        def leaf(run: Run, inputs: Any) -> tuple[Tensor, ...]:
            tapped = run(inputs, taps=Every(self.layers() if points is None else points))[1]
            names[:] = tapped
            # no rows: a compiled program has nothing to compute for them
            return tuple(x[:0] for x in tapped.values())

        empty = self.ops.evaluate(self._build(leaf), inputs)
        return {name: self.ops.shape(x)[1:] for name, x in zip(names, empty, strict=True)}

    def compile(self, leaf: Leaf, key: Hashable) -> Callable[..., Any]:
        """The compiled ``leaf``, found again by ``key`` on every later call with the same user's model."""
        compiled: Callable[..., Any] = self.store.get((self.key, key), lambda: self._build(leaf))
        return compiled

    def layout(self, rank: int) -> Layout:
        """The axis order of tensors of this rank, as declared or as the framework's metadata say."""
        return Layout.find(self.options.layout or self.default_layout, rank, declared=self.options.layout is not None)

    def with_options(self, **changes: Any) -> Model:
        """The same user's model under other options."""
        return type(self)(self.target, replace(self.options, **changes))

    def _select_output(self, output: Any) -> Tensor:
        """Apply the ``output`` option to what the user's model returned."""
        choice = self.options.output
        if callable(choice):
            output = choice(output)
        elif isinstance(choice, str) and not isinstance(output, Mapping):
            output = getattr(output, choice)
        elif choice is not None:
            output = output[choice]
        if not self.ops.is_tensor(output):
            if isinstance(output, (tuple, list)) and len(output) == 1 and self.ops.is_tensor(output[0]):
                return output[0]
            raise ShapeError(
                "the model's output",
                received=_choices(output),
                valid="a tensor; name the part to explain with whence.wrap(model, output=...)",
            )
        return output

    def _arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for the user's model."""
        unpack = self.options.unpack if self.options.unpack is not None else True
        apply = self.options.preprocess
        if isinstance(inputs, dict):
            inputs = {key: apply(leaf) for key, leaf in inputs.items()} if apply else inputs
            args, kwargs = ((), inputs) if unpack else ((inputs,), {})
        elif isinstance(inputs, (tuple, list)):
            inputs = sequence(type(inputs), [apply(leaf) for leaf in inputs]) if apply else inputs
            args, kwargs = (tuple(inputs), {}) if unpack else ((inputs,), {})
        else:
            args, kwargs = (apply(inputs) if apply else inputs,), {}
        return args, {**kwargs, **self.options.kwargs}


def _choices(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with keys {sorted(map(str, output))}"
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)}"
    fields = [name for name in getattr(output, "__dict__", {}) if not name.startswith("_")]
    return f"a {type(output).__name__}" + (f" with fields {fields}" if fields else "")
