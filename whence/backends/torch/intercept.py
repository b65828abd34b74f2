"""Backward rules on operations: the user's forward pass is run again under a ``TorchFunctionMode``.

The mode sees every torch function, whether called through a module, a functional or a tensor method. An operation with
a rule runs inside an ``autograd.Function`` whose backward is the rule; autograd does the rest. Parameters are frozen
while a model is explained, so ``requires_grad`` says whether a value depends on the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as functional
from torch.overrides import TorchFunctionMode, resolve_name

from whence.backends.torch.model import TorchModel, uncompiled
from whence.backends.torch.ops import ops
from whence.core.errors import CapabilityError, CoverageError
from whence.core.model import Edit, Model
from whence.core.ops import Tensor
from whence.core.rule import Coverage, OpCall, Rule, RuleSet

RELUS = {torch.relu, torch.relu_, functional.relu, functional.relu_, torch.Tensor.relu, torch.Tensor.relu_}
CLAMPS = {torch.clamp, torch.clamp_, torch.clip, torch.clip_, torch.clamp_min, torch.clamp_min_,
          torch.Tensor.clamp, torch.Tensor.clamp_, torch.Tensor.clip, torch.Tensor.clip_,
          torch.Tensor.clamp_min, torch.Tensor.clamp_min_}  # fmt: skip
MAXIMA = {torch.maximum, torch.max, torch.Tensor.maximum, torch.Tensor.max}
RELU_NODES = ("ReluBackward", "ClampMinBackward", "ThresholdBackward")
"""Autograd's names for a relu that was not intercepted, from a scripted module say."""


@dataclass
class TorchOp(OpCall):
    """One torch operation on its tensor inputs."""

    kind: str
    name: str
    params: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    data: tuple[int, ...]
    function: Callable[..., Tensor]
    outputs: tuple[Tensor, ...] = ()

    def call(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.function(*inputs),)

    def vjp(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        def on_data(*data: Tensor) -> Tensor:
            full = list(inputs)
            for i, x in zip(self.data, data, strict=True):
                full[i] = x
            return self.function(*full)

        found = dict(zip(self.data, ops.vjp(on_data, *(inputs[i] for i in self.data))[1](cotangents[0]), strict=True))
        return tuple(found.get(i) for i in range(len(inputs)))


class _Ruled(torch.autograd.Function):
    """An operation whose backward is a rule."""

    @staticmethod
    def forward(ctx: Any, op: TorchOp, rule: Rule, *inputs: Tensor) -> Tensor:
        op.inputs = tuple(x.detach() for x in inputs)
        op.outputs = tuple(y.detach() for y in op.call(*op.inputs))
        ctx.op, ctx.rule = op, rule
        return op.outputs[0].clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *ctx.rule(ops, ctx.op, cotangents))


class _Intercept(TorchFunctionMode):
    """Runs each torch function with its rule, if it has one, and counts what it sees."""

    def __init__(self, rules: RuleSet, coverage: Coverage) -> None:
        super().__init__()
        self.rules, self.coverage = rules, coverage

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        op = _recognised(func, args, kwargs)
        rule = None if op is None else self.rules.find(op)
        if op is None or rule is None:
            output = func(*args, **kwargs)
            if isinstance(output, torch.Tensor) and output.requires_grad:
                self.coverage.plain[_name(func)] += 1
            return output
        self.coverage.ruled[op.name] += 1
        if not _in_place(func, args, kwargs):
            return _Ruled.apply(op, rule, *op.inputs)
        # the old values go on through the rule, the user's tensor takes the new ones
        return op.inputs[0].copy_(_Ruled.apply(op, rule, *(x.clone() for x in op.inputs)))


def _recognised(func: Any, args: Any, kwargs: Any) -> TorchOp | None:
    """The operation as an ``OpCall``, where it depends on the input and its kind has rules."""
    x = args[0] if args else kwargs.get("input")
    if not isinstance(x, torch.Tensor) or not x.requires_grad:
        return None
    rest = args[1:]
    if func in CLAMPS:
        low = rest[0] if rest else kwargs.get("min")
        high = rest[1] if len(rest) > 1 else kwargs.get("max")
        is_relu = high is None and not isinstance(low, torch.Tensor) and low == 0
    elif func in MAXIMA:
        other = rest[0] if rest else kwargs.get("other")
        is_relu = isinstance(other, torch.Tensor) and not other.requires_grad and not bool(other.any())
    else:
        is_relu = func in RELUS
    return TorchOp("relu", _name(func), {}, (x,), (0,), torch.relu) if is_relu else None


def _in_place(func: Any, args: Any, kwargs: Any) -> bool:
    if func is functional.relu:
        return bool(args[1] if len(args) > 1 else kwargs.get("inplace", False))
    return str(getattr(func, "__name__", "")).endswith("_") and not str(func.__name__).endswith("__")


def _name(func: Any) -> str:
    return str(resolve_name(func) or getattr(func, "__name__", func))


class InterceptedModel(TorchModel):
    """A model whose ``run`` has the derivatives of a rule set."""

    def __init__(self, base: TorchModel, rules: RuleSet, reference: Any = None) -> None:
        if reference is not None:
            raise CapabilityError(
                "a reference beside the input", received=f"rules {rules.name!r}", valid="rules of the input alone"
            )
        # compiled code does not come by the mode: go on with the module that was compiled
        target = uncompiled(base.target) if isinstance(base.target, torch.nn.Module) else base.target
        self.base = type(base)(target, base.options)
        self.target, self.options, self.store, self.rules = target, base.options, base.store, rules
        self.default_layout = base.default_layout

    @property
    def key(self) -> Any:
        return ("intercept", self.rules, self.base.key)

    @property
    def coverage(self) -> Coverage:
        found: Coverage = self.store.get((self.key, "coverage"), Coverage)
        return found

    def layers(self) -> tuple[str, ...]:
        return self.base.layers()

    def place(self, value: Any) -> Tensor:
        return self.base.place(value)

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        self.base.check(names, leaves)

    @contextmanager
    def hold(self) -> Iterator[Self]:
        with self.base.hold():
            yield self

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not torch.is_grad_enabled():
            return self.base.run(inputs, edits=edits, taps=taps)
        coverage = self.coverage
        coverage.clear()
        with _Intercept(self.rules, coverage):
            output, tapped = self.base.run(inputs, edits=edits, taps=taps)
        if output.requires_grad:
            self._audit(output)
            coverage.require(self.rules)
        return output, tapped

    def _audit(self, output: Tensor) -> None:
        """Raise where autograd recorded an operation that has a rule but was not intercepted."""
        relu = TorchOp("relu", "relu", {}, (), (), torch.relu)
        if self.rules.find(relu) is None:
            return
        escaped = sorted({node.name() for node in _nodes(output.grad_fn) if node.name().startswith(RELU_NODES)})
        if escaped:
            raise CoverageError(
                f"backward rules {self.rules.name!r}",
                received=f"operations that escaped: {', '.join(escaped)}",
                valid="the model before torch.jit, without compiled custom operations",
            )

    def _binder(self) -> Callable[[Any], Model]:
        make, options, rules = type(self.base), self.options, self.rules
        store = self.store

        def bind(target: Any) -> Model:
            bound = InterceptedModel(make(target, options), rules)
            bound.store = store
            return bound

        return bind


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
