"""Affine operations, and the constants behind them that belong to them: a bias, a scale, batch normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from whence.backends.torch.kinds import canonical
from whence.backends.torch.pointwise import Key, key_of
from whence.backends.torch.recorded import Call, Graph, TorchOp
from whence.core.folding import scale_and_bias
from whence.core.ops import Tensor

_NAMES = {
    "add": "add", "sub": "sub", "subtract": "sub", "mul": "mul", "multiply": "mul", "div": "div", "divide": "div",
    "true_divide": "div", "truediv": "div",
}  # fmt: skip
MOVES = (
    "permute", "transpose", "swapaxes", "movedim", "reshape", "view", "squeeze", "unsqueeze", "flatten", "contiguous",
)  # fmt: skip
"""What puts a product in another shape and leaves its values as they are, as Keras does with channels."""
CASTS = ("to", "type", "float", "double", "half", "bfloat16")
"""What puts a value into another precision, as normalisations do that compute in float32."""
_NORM = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
"""The arguments of ``torch.batch_norm``."""


@dataclass(frozen=True)
class _Product:
    """A product with constant weights, how its output was moved, and the steps taken behind it."""

    call: Call
    op: TorchOp
    moves: tuple[Call, ...] = ()
    steps: tuple[tuple[str, Any], ...] = ()


class AffineOps:
    """The affine operations met so far, by their outputs, which are held, so that no identity is used twice."""

    def __init__(self) -> None:
        self._met: dict[Key, _Product] = {}
        self._held: list[Tensor] = []
        self._completed: dict[int, _Product] = {}

    def add(self, output: Tensor, call: Call, op: TorchOp) -> None:
        """Remember the output of an affine operation."""
        self._met[key_of(output)] = self._completed.pop(id(op), _Product(call, op))
        self._held.append(output)

    def add_copy(self, output: Tensor, of: Tensor) -> None:
        """A copy counts as what it is of."""
        if key_of(of) in self._met:
            self._met[key_of(output)] = self._met[key_of(of)]
            self._held.append(output)

    def add_cast(self, output: Tensor, call: Call) -> None:
        """A product in another precision counts as one, whatever was done to it before."""
        product = self._met.get(key_of(call.tensors[0]))
        if product is not None and output is not call.tensors[0]:
            self._met[key_of(output)] = replace(product, moves=(*product.moves, call.emptied()))
            self._held.append(output)

    def add_moved(self, output: Tensor, call: Call) -> None:
        """A product in another shape counts as one, unless something was done to it before."""
        product = self._met.get(key_of(call.tensors[0]))
        if product is not None and not product.steps and product.op.params.get("bias") is None:
            self._met[key_of(output)] = replace(product, moves=(*product.moves, call.emptied()))
            self._held.append(output)

    def completed(self, name: str, call: Call, at: int) -> tuple[TorchOp, Sequence[Tensor]] | None:
        """The call as the affine operation whose output ``call.tensors[at]`` it scales or shifts, and its inputs."""
        x = call.tensors[at]
        before = self._met.get(key_of(x))
        steps = None if before is None else _steps(name, call, x)
        if before is None or steps is None:
            return None
        product, own = before.call, before.op.params.get("bias")
        spatial = product.tensors[1].ndim - 2 if before.op.params["conv"] else 0
        bias = None if own is None else product.tensors[own].reshape(-1, *(1,) * spatial)
        found = replace(before, steps=(*before.steps, *steps))
        scale, bias = scale_and_bias(found.steps, bias)
        whole = scale
        tensors = list(product.tensors)
        weight = None if scale is None or before.moves else _scaled(product, scale)
        if weight is not None:
            tensors[1], scale = weight, None
        constants = [torch.as_tensor(c, dtype=x.dtype, device=x.device) for c in (scale, bias) if c is not None]
        kept = [i for i in range(len(tensors)) if i != own]

        nothing = None if own is None else torch.zeros_like(product.tensors[own])
        # the data are not kept, since that would keep what the function is for
        function, count, is_scaled = product.emptied(), len(product.tensors), scale is not None
        moves = before.moves

        def run(*tensors: Tensor) -> tuple[Tensor, ...]:
            given = dict(zip(kept, tensors, strict=False))
            z = _moved(function(*(given.get(i, nothing) for i in range(count))), moves)
            return (z * tensors[-2] + tensors[-1] if is_scaled else z + tensors[-1],)

        inputs = (*(tensors[i] for i in kept), *constants)
        data = tuple(i for i, t in enumerate(inputs) if t.requires_grad)
        params = {**before.op.params, "bias": len(inputs) - 1, "scale": None if scale is None else len(inputs) - 2}
        op = TorchOp("affine", before.op.name, params, data, run, layers=before.op.layers)
        if before.op.graph is not None:
            # the product's own graph serves for the whole, whose derivative is scaled
            leaves = [*(before.op.graph.inputs[i] for i in kept), *constants]
            with torch.enable_grad():
                z = _moved(before.op.graph.outputs[0], moves)
                op.graph = Graph(leaves, (z if whole is None else z * whole,))
        self._completed[id(op)] = found
        return op, inputs


def _moved(z: Tensor, moves: Sequence[Call]) -> Tensor:
    for move in moves:
        z = move(z)
    return z


def _scaled(product: Call, scale: Any) -> Tensor | None:
    """The weight times a scale of one number per output, None where it is none: one operation less for the rules."""
    name, weight = canonical(product.function), product.tensors[1]
    if name not in ("linear", "conv1d", "conv2d", "conv3d"):
        return None
    scale = torch.as_tensor(scale, dtype=weight.dtype, device=weight.device)
    behind = weight.ndim - 2
    is_per_output = scale.ndim > behind and scale.numel() == scale.shape[-1 - behind] == weight.shape[0]
    if scale.numel() != 1 and not is_per_output:
        return None
    return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))


def _steps(name: str, call: Call, x: Tensor) -> list[tuple[str, Any]] | None:
    """What a call does to x value by value, None where it does something else."""
    if name == "batch_norm":
        return _norm(call, x)
    if name not in _NAMES or "alpha" in call.kwargs or "rounding_mode" in call.kwargs:
        return None
    operands = [*call.args, *(call.kwargs[key] for key in ("input", "other") if key in call.kwargs)]
    others = [y for y in operands if y is not x]
    if len(operands) != 2 or len(others) != 1 or (operands[0] is not x and _NAMES[name] in ("sub", "div")):
        return None
    (other,) = others
    if isinstance(other, torch.Tensor) and torch.broadcast_shapes(other.shape, x.shape) != x.shape:
        return None
    return [(_NAMES[name], other)] if isinstance(other, (torch.Tensor, int, float)) else None


def _norm(call: Call, x: Tensor) -> list[tuple[str, Any]]:
    given: Mapping[str, Any] = {**dict(zip(_NORM, call.args, strict=False)), **call.kwargs}
    deviation = torch.sqrt(given["running_var"] + given.get("eps", 1e-5))
    steps = (("sub", given["running_mean"]), ("div", deviation), ("mul", given["weight"]), ("add", given["bias"]))
    channels = (-1, *(1,) * (x.ndim - 2))
    return [(name, c.reshape(channels)) for name, c in steps if c is not None]
