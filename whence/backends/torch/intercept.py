"""Backward rules on operations: the user's forward pass is run again under a ``TorchFunctionMode``.

The mode sees every torch function, whether called through a module, a functional or a tensor method. An operation with
a rule runs inside an ``autograd.Function`` whose backward is the rule; autograd does the rest. Parameters are frozen
while a model is explained, so ``requires_grad`` says whether a value depends on the input. A reference runs first,
under the same mode, and leaves the values of its operations in the order in which the input will meet them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from whence.backends.torch.activated import Activated
from whence.backends.torch.affine import CASTS, MOVES, AffineOps
from whence.backends.torch.closed_form import pullback
from whence.backends.torch.compiled import uncompiled
from whence.backends.torch.compositions import COMPOSITIONS, composed
from whence.backends.torch.kinds import LINEAR_NODES, PADS, VALUE_BY_VALUE, canonical, kind_of, kinds_of
from whence.backends.torch.lineage import Lineage
from whence.backends.torch.model import TorchModel
from whence.backends.torch.opened import opened
from whence.backends.torch.ops import ops
from whence.backends.torch.pointwise import Composed, key_of
from whence.backends.torch.recorded import Call, Graph, TorchOp, floating, leaves_at, tensors_of, writes
from whence.core.errors import CoverageError
from whence.core.layers import Within
from whence.core.model import Edit, Model
from whence.core.ops import Tensor
from whence.core.padding import Padding
from whence.core.rule import Coverage, OpCall, Reference, Rule, RuleSet
from whence.core.ruled import RuledModel
from whence.core.statistics import Statistics

RELU_NODES = {"relubackward": None, "clampminbackward": "_saved_min", "thresholdbackward": "_saved_threshold"}
"""Autograd's names for a relu that was not intercepted, from a scripted module say, and what must be zero to be one."""


class _Ruled(torch.autograd.Function):
    """Values that an operation gave, their backward being a rule; none is needed on the way to a reference."""

    @staticmethod
    def forward(ctx: Any, op: TorchOp, rule: Rule | None, values: Sequence[Any], *inputs: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.op, ctx.rule = (None, None) if rule is None else (op, rule)
        ctx.at = [i for i, y in enumerate(values) if isinstance(y, torch.Tensor) and y.is_floating_point()]
        return tuple(values)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        # what the operation keeps is let go, as autograd does with the tensors of its own
        op, ctx.op = ctx.op, None
        given = [cotangents[i] for i in ctx.at]
        if all(g is None for g in given):
            return (None, None, None, *(None for _ in op.kept_inputs))
        given = [
            torch.zeros_like(kept.tensor) if g is None else g for g, kept in zip(given, op.kept_outputs, strict=True)
        ]
        return (None, None, None, *ctx.rule(ops, op, given))


class _OnceKnown:
    """The rule of an operation that is found on the way back, when it is known what came after it."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules

    def __call__(self, ops: Any, op: OpCall, cotangents: Sequence[Tensor]) -> Sequence[Tensor | None]:
        rule = self.rules.find(op)
        return op.vjp(op.inputs, cotangents) if rule is None else rule(ops, op, cotangents)


class _Intercept(TorchFunctionMode):
    """Runs each torch function with its rule, if it has one, and counts what it sees.

    ``tape`` holds the operations of the reference: written while ``replays`` is false, read while it is true.
    """

    def __init__(self, rules: RuleSet, coverage: Coverage, tape: list[TorchOp] | None, replays: bool) -> None:
        super().__init__()
        self.rules, self.coverage, self.tape, self.replays = rules, coverage, tape, replays
        self.met = 0
        self.inside: list[Any] = []
        self.plain_names: dict[str, bool] = {}
        self.statistics = Statistics()
        self.held: list[Tensor] = []
        self.affine = AffineOps() if any(rules.find_early(_probe("affine", rules.layers))) else None
        self.lineage = Lineage() if rules.places else None
        self.padding = Padding(ops, key_of)
        self.layers: list[str] = []
        self.waiting: list[TorchOp] = []
        """Those whose rule depends on what comes after them."""
        self.composed = Composed() if rules.find(_probe("elementwise", rules.layers)) is not None else None
        together = self.composed is not None and rules.find(_probe("activated", rules.layers)) is not None
        self.activated = Activated(self.composed) if self.composed is not None and together else None

    def tell_last(self, explained: Sequence[Tensor]) -> None:
        """The forward pass is over: which affine operations were the last on the way to these is known."""
        if self.lineage is not None:
            self.lineage.tell_last(explained)
        for op in self.waiting:
            self.coverage.count(self.rules, op.name, op.kind, self.rules.find(op))

    @contextmanager
    def in_layer(self, name: str) -> Iterator[None]:
        """Operations that are met meanwhile run in that layer."""
        self.layers.append(name)
        try:
            yield
        finally:
            self.layers.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = canonical(func)
        if name in _ASKED:
            return func(*args, **kwargs)
        tensors = tensors_of((args, kwargs) if kwargs else args)
        dependent = tuple([i for i, x in enumerate(tensors) if x.requires_grad or self._depends(x)])
        if name in _TRUTHS or not dependent:
            output = func(*args, **kwargs)
            if dependent or any(map(self._is_choice, tensors)):
                self._remember_choice(name, output)
            return output
        # a method of Tensor that calls the method of its parent comes here twice
        inside = composed(name, args, kwargs, writes(func)) if name in COMPOSITIONS else None
        inside = inside or (opened(func) if func not in self.inside else None)
        if inside is None and self._is_plain(name):
            output = func(*args, **kwargs)
            if _has_gradient(output):
                self.coverage.count(self.rules, _name(func), kinds_of(name)[0], None)
            self._remember_choice(name, output)
            return output
        if inside is None:
            return self._called(name, Call(func, args, kwargs, tensors), dependent)
        self.inside.append(func)
        try:
            with self:
                return inside(*args, **kwargs)
        finally:
            self.inside.pop()

    def _depends(self, x: Tensor) -> bool:
        """Whether truth values or whole numbers depend on the input."""
        return self.composed is not None and not x.is_floating_point() and self.composed.depends(x)

    def _is_choice(self, x: Tensor) -> bool:
        return self.composed is not None and self.composed.is_choice(x)

    def _remember_choice(self, name: str, output: Any) -> None:
        if self.composed is None or not isinstance(output, torch.Tensor) or output.is_floating_point():
            return
        # what is made like a tensor has its shape, not its values
        if not name.endswith("_like") and not name.startswith("new_"):
            self.composed.add_choice(output)

    def _is_plain(self, name: str) -> bool:
        """Whether no function of that name has a rule or is part of what has one, whatever its arguments."""
        if name not in self.plain_names:
            ruled = any(self.rules.find(_probe(kind, self.rules.layers)) for kind in kinds_of(name))
            in_composite = self.composed is not None and name in VALUE_BY_VALUE
            is_part = self.activated is not None and (name in MOVES or "affine" in kinds_of(name))
            self.plain_names[name] = not (ruled or in_composite or is_part or self.affine is not None)
        return self.plain_names[name]

    def _called(self, name: str, call: Call, dependent: tuple[int, ...]) -> Any:
        written = call.written
        data = tuple([i for i in dependent if call.tensors[i].requires_grad])
        kind, params = kind_of(name, call.args, call.kwargs, dependent)
        if kind == "select" and not any(map(self._is_choice, call.tensors)):
            kind = "linear"
        keys = [key_of(call.tensors[i]) for i in data] if self.affine is not None else []
        if self.affine is not None:
            params = {**params, "statistic": self.statistics.operand(kind, keys)}
        op = TorchOp(kind, _name(call.function), params, data)
        inputs: Sequence[Tensor] = call.tensors
        root = None
        if self.composed is not None and name in VALUE_BY_VALUE and kind != "opaque":
            root = self.composed.root(call, dependent)
        is_several = len(dependent) > 1 or not data
        if root is not None and kind not in ("linear", "discrete") and is_several and not written:
            function, kinked = self.composed.function(call, root)  # type: ignore[union-attr]
            op = TorchOp("elementwise", op.name, {"kinked": kinked}, (0,), function)
            inputs = (self.composed.tensor(root),)  # type: ignore[union-attr]
        if self.affine is not None and len(data) == 1:
            op, inputs = self.affine.completed(name, call, data[0]) or (op, inputs)
        if self.activated is not None and root is not None and op.kind in ("relu", "elementwise"):
            op, inputs = self.activated.completed(op, call, root) or (op, inputs)
        if self.layers:
            op.layers = (*op.layers, *(layer for layer in self.layers if layer not in op.layers))
        if self.lineage is not None:
            op.early = tuple(i for i in op.data if self.lineage.is_early(inputs[i]))
            op.present = self.padding.present(inputs, op.early)
        found = self.rules.find_early(op) if op.data else (None,)
        waits = len(found) > 1
        # what is written on has another name afterwards
        before = [key_of(x) for x in call.tensors] if root is not None else []
        rule: Rule | None = _OnceKnown(self.rules) if waits else found[0]
        self.waiting += [op] if waits else []
        if rule is None or (op.kind == "opaque" and not _differentiable(call)):
            output = call.function(*call.args, **call.kwargs)
            if _has_gradient(output):
                self.coverage.count(self.rules, op.name, op.kind, None)
        else:
            if not waits:
                self.coverage.count(self.rules, op.name, op.kind, rule)
            # the old values go on through the rule, the user's tensor takes the new ones
            output = self._under(rule, op, call, inputs)
            output = call.args[0].copy_(output) if written else output
            self.padding.follow(op, floating(output), pads=name in PADS)
        is_met = self.affine is not None and isinstance(output, torch.Tensor)
        if is_met and self.statistics.add(name, kind, keys, (key_of(output),)):
            self.held.append(output)
        if self.lineage is not None and op.kind == "affine":
            self.lineage.add(output, op)
        if self.affine is not None and op.kind == "affine":
            self.affine.add(output, call, op)
        elif self.affine is not None and name == "clone":
            self.affine.add_copy(output, call.tensors[0])
        elif self.affine is not None and name in CASTS and isinstance(output, torch.Tensor):
            self.affine.add_cast(output, call)
        if self.activated is not None and op.kind == "affine":
            self.activated.add(output, call, op)
        if name in MOVES and len(call.tensors) == 1 and not written:
            for known in (self.affine, self.activated):
                if known is not None:
                    known.add_moved(output, call)
        if root is not None and isinstance(output, torch.Tensor):
            self.composed.add(output, call, before, root)  # type: ignore[union-attr]
        self._remember_choice(name, output)
        return output

    def _under(self, rule: Rule, op: TorchOp, call: Call, inputs: Sequence[Tensor]) -> Any:
        if self.tape is not None and self.replays:
            op.reference = self._reference(op, inputs)
        elif self.tape is not None:
            self.tape.append(op)

        is_whole = inputs is call.tensors
        if is_whole:
            # the graph of an affine operation serves for what is folded into it, too
            op.function, op.pullback = call.as_function(), None if op.kind == "affine" else pullback(call)
            inputs = [x.clone() for x in inputs] if call.written else inputs
        is_recorded = is_whole and op.pullback is None
        at = leaves_at(inputs if is_whole else call.tensors, op.data if is_recorded else ())
        with torch.set_grad_enabled(is_recorded):
            output = call(*at)
        leaves, form = ([output], None) if isinstance(output, torch.Tensor) else tree_flatten(output)
        values = [_own(y) if isinstance(y, torch.Tensor) else y for y in leaves]
        op.keep(
            at if is_whole else [x.detach() for x in inputs],
            [y.detach() for y in floating(values)],
            Graph(at, floating(leaves)) if is_recorded else op.graph,
        )
        flat = _Ruled.apply(op, None if self.tape is not None and not self.replays else rule, values, *inputs)
        return flat[0] if form is None else tree_unflatten(list(flat), form)

    def _reference(self, op: TorchOp, inputs: Sequence[Tensor]) -> TorchOp:
        """The same operation where the reference met it."""
        assert self.tape is not None
        found = self.tape[self.met] if self.met < len(self.tape) else None
        self.met += 1
        if found is None or (found.name, found.kind) != (op.name, op.kind) or _shapes(found.inputs) != _shapes(inputs):
            raise CoverageError(
                f"backward rules {self.rules.name!r}",
                received="a baseline that takes another way through the model: where the input meets "
                f"{op.name}, it meets {'nothing' if found is None else found.name}",
                valid="a baseline for which the model runs the same operations on the same shapes",
            )
        return found


_ABOUT = """get set size dim ndimension numel nelement is_floating_point is_complex is_contiguous stride storage_offset
    data_ptr item tolist numpy array len bool int index contains repr str format hash iter deepcopy reduce_ex dir
    requires_grad_ retain_grad register_hook element_size get_device is_same_size is_nonzero"""
_TRUTHS = ("bool", "int")
"""Of these, what may be a tensor: ``x.bool()`` has the name of ``bool(x)``."""
_ASKED = frozenset(_ABOUT.split()).difference(_TRUTHS)
"""What tells about a tensor, or does nothing to its value."""


def _probe(kind: str, layers: tuple[str, ...] = (), data: tuple[int, ...] = ()) -> TorchOp:
    """An operation of a kind, to ask whether it has a rule: in whatever layer, with ``data`` behind affine ones."""
    return TorchOp(kind, kind, {}, data, layers=layers)


def _own(y: Tensor) -> Tensor:
    """The value by itself; a view could not be written on in place by the caller."""
    return y.detach().clone() if y._is_view() else y.detach()


def _differentiable(call: Call) -> bool:
    """Whether a call of something unknown gives tensors that have a derivative."""
    return not call.written and _has_gradient(call.function(*call.args, **call.kwargs))


def _has_gradient(output: Any) -> bool:
    if isinstance(output, torch.Tensor):
        return bool(output.requires_grad)
    return any(x.requires_grad for x in tensors_of(output))


@cache
def _name(func: Any) -> str:
    return str(resolve_name(func) or getattr(func, "__name__", func))


def _shapes(tensors: Sequence[Tensor]) -> list[torch.Size]:
    return [x.shape for x in tensors]


class InterceptedModel(RuledModel, TorchModel):
    """A model whose ``run`` has the derivatives of a rule set."""

    base: TorchModel

    def __init__(self, base: TorchModel, rules: RuleSet) -> None:
        # compiled code does not come by the mode: go on with the module that was compiled
        target = uncompiled(base.target) if isinstance(base.target, torch.nn.Module) else base.target
        super().__init__(type(base)(target, base.options), rules)
        self.store = base.store

    @property
    def coverage(self) -> Coverage:
        found: Coverage = self.store.get((self.key, "coverage"), Coverage)
        return found

    def run(  # type: ignore[override]
        self,
        inputs: Any,
        *,
        edits: Mapping[str, Edit] | None = None,
        taps: Sequence[str] = (),
        reference: Reference | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        if not torch.is_grad_enabled():
            found = self.base.run(inputs, edits=edits, taps=taps)
            beside = None if reference is None else self.base.run(reference.inputs, edits=reference.edits, taps=taps)
        else:
            tape: list[TorchOp] | None = None
            beside = None
            if reference is not None:
                tape, given = [], _tracked(reference, inputs)
                beside = self._run(given.inputs, given.edits, taps, Coverage(), tape, replays=False)
            coverage = Coverage()
            found = self._run(inputs, edits, taps, coverage, tape, replays=True)
            if found[0].requires_grad:
                self._audit(found[0])
                coverage.require(self.rules)
                self.coverage.replace(coverage)
        if beside is None:
            return found
        pairs = {name: (x, beside[1][name].detach()) for name, x in found[1].items()}
        return (found[0], beside[0].detach()), pairs

    def _run(
        self, inputs: Any, edits: Mapping[str, Edit] | None, taps: Sequence[str], coverage: Coverage,
        tape: list[TorchOp] | None, *, replays: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        mode = _Intercept(self.rules, coverage, tape, replays)
        with mode:
            within = Within(self.rules.layers, mode.in_layer)
            output, tapped = self.base.run(inputs, edits=edits, taps=taps, within=within)
        mode.tell_last(list(tapped.values()) if taps else [output])
        return output, tapped

    def _audit(self, output: Tensor) -> None:
        """Raise where autograd recorded an operation that has a rule but was not intercepted."""
        if self.rules.fallback is not None:
            names = {node.name() for node in _nodes(output.grad_fn)}
            escaped = {name for name in names if not _is_linear(name)}
        else:
            ruled = self.rules.find(_probe("relu", data=(0,))) is not None
            relus = (node for node in _nodes(output.grad_fn) if ruled and _is_relu(node))
            escaped = {node.name() for node in relus}
        if escaped:
            raise CoverageError(
                f"backward rules {self.rules.name!r}",
                received=f"operations that escaped: {', '.join(sorted(escaped))}",
                valid="the model before torch.jit, without compiled or custom autograd functions",
            )

    def _binder(self) -> Callable[[Any], Model]:
        make, options, rules = type(self.base), self.options, self.rules
        store = self.store

        def bind(target: Any) -> Model:
            bound = InterceptedModel(make(target, options), rules)
            bound.store = store
            return bound

        return bind


def _tracked(reference: Reference, inputs: Any) -> Reference:
    """The reference as leaves of a graph wherever the input is, which is how dependence on it is known."""

    def leaf(x: Tensor, like: Tensor) -> Tensor:
        return x.detach().requires_grad_(like.requires_grad)

    def edited(edit: Edit) -> Edit:
        return lambda x: edit(x).detach().requires_grad_()

    edits = {name: edited(edit) for name, edit in (reference.edits or {}).items()}
    return Reference(tree_map(leaf, reference.inputs, inputs), edits)


def _is_linear(node: str) -> bool:
    plain = node.rpartition("::")[2].lower().rstrip("0123456789")
    return plain in ("_ruledbackward", "accumulategrad") or plain.removesuffix("backward") in LINEAR_NODES


def _is_relu(node: Any) -> bool:
    """Whether autograd's node is a relu; a norm that is kept from zero is clamped elsewhere."""
    plain = node.name().lower().rstrip("0123456789")
    return plain in RELU_NODES and not getattr(node, RELU_NODES[plain] or "", 0)


def _nodes(root: Any) -> Iterator[Any]:
    """All autograd nodes that an output depends on."""
    seen, stack = set(), [root]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(parent for parent, _ in node.next_functions)
