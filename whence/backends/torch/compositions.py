"""Fused torch functions as compositions of simple ones, at the granularity in which other frameworks have them.

Each function takes the arguments of the torch function of its name. What it is composed of is intercepted in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor


def layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, *_: Any,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps), scaled and shifted."""
    return _scaled(_standardised(x, tuple(range(-len(normalized_shape), 0)), eps), weight, bias)


def rms_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x^2) + eps), scaled."""
    axes = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return _scaled(x * torch.rsqrt(torch.square(x).mean(axes, keepdim=True) + eps), weight, None)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    """Layer normalisation over each group of channels."""
    grouped = x.reshape(x.shape[0], num_groups, -1)
    return _per_channel(_standardised(grouped, (-1,), eps).reshape(x.shape), weight, bias)


def instance_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    use_input_stats: bool, momentum: float, eps: float, *_: Any,
) -> Tensor:  # fmt: skip
    """Normalisation of each channel of each sample, or by running statistics."""
    if use_input_stats:
        found = _standardised(x, tuple(range(2, x.ndim)), eps)
    else:
        assert running_mean is not None and running_var is not None
        found = _per_channel(x, torch.rsqrt(running_var + eps), -running_mean * torch.rsqrt(running_var + eps))
    return _per_channel(found, weight, bias)


def _standardised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred * torch.rsqrt(torch.square(centred).mean(axes, keepdim=True) + eps)


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _per_channel(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (-1, *(1,) * (x.ndim - 2))
    return _scaled(
        x, weight if weight is None else weight.reshape(shape), bias if bias is None else bias.reshape(shape)
    )


def var(x: Tensor, dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = None) -> Tensor:
    """The mean squared deviation, times n / (n - 1) where unbiased."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    axes = tuple(range(x.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    spared = (1 if unbiased else 0) if correction is None else correction
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    squares = torch.square(x - x.mean(axes, keepdim=True)).sum(axes, keepdim=keepdim)
    return squares / max(count - spared, 0)


def std(*args: Any, **kwargs: Any) -> Tensor:
    """The root of ``var``."""
    return torch.sqrt(var(*args, **kwargs))


def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """sqrt(sum(x^2)), or the sum of magnitudes."""
    axes = tuple(range(x.ndim)) if dim is None else dim
    if ord == 1:
        return torch.abs(x).sum(axes, keepdim=keepdim)
    return torch.sqrt(torch.square(x).sum(axes, keepdim=keepdim))


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b) for the halves a and b."""
    a, b = x.chunk(2, dim)
    return a * torch.sigmoid(b)


def hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6, as other frameworks and many models spell it, which decides what relevance the 3 absorbs."""
    return functional.relu6(x + 3) / 6


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q k^T / sqrt(d)) v, with a mask that is added or says which to keep."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value


# -- sums with products ----------------------------------------------------------------------------------------
def addmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta x + alpha a b, of matrices or of a matrix and a vector."""
    product = torch.matmul(a, b)
    return (product if alpha == 1 else product * alpha) + (x if beta == 1 else x * beta)


def addbmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta x + alpha times the sum of the products of a batch."""
    product = torch.bmm(a, b).sum(0)
    return (product if alpha == 1 else product * alpha) + (x if beta == 1 else x * beta)


def addcmul(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    """x + value a b, value by value."""
    return x + (a * b if value == 1 else a * b * value)


def addcdiv(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    """x + value a / b, value by value."""
    return x + (a / b if value == 1 else a / b * value)


def lerp(x: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """x + weight (end - x)."""
    return x + (end - x) * weight


# -- recurrent networks ----------------------------------------------------------------------------------------
Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


def _lstm_step(x: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
    h, c = state
    w_x, w_h, b_x, b_h = weights
    gates = functional.linear(x, w_x) + functional.linear(h, w_h)
    # the biases come after the sum, as in other frameworks, which decides what relevance they absorb
    gates = gates if b_x is None or b_h is None else gates + (b_x + b_h)
    i, f, g, o = gates.chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru_step(x: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
    (h,) = state
    w_x, w_h, b_x, b_h = weights
    r_x, z_x, n_x = functional.linear(x, w_x, b_x).chunk(3, -1)
    r_h, z_h, n_h = functional.linear(h, w_h, b_h).chunk(3, -1)
    z, n = torch.sigmoid(z_x + z_h), torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
    return ((1 - z) * n + z * h,)


def _rnn_step(act: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    def step(x: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        w_x, w_h, b_x, b_h = weights
        return (act(functional.linear(x, w_x, b_x) + functional.linear(state[0], w_h, b_h)),)

    return step


def _recurrent(step: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """The fused function of that step: layers, directions and time as loops."""

    def run(
        x: Tensor, states: Any, weights: Sequence[Tensor], has_biases: bool, num_layers: int, dropout: float,
        train: bool, bidirectional: bool, batch_first: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        states = (states,) if isinstance(states, Tensor) else tuple(states)
        directions, per_cell = 1 + bidirectional, 4 if has_biases else 2
        steps = list(x.unbind(1 if batch_first else 0))
        last: list[tuple[Tensor, ...]] = []
        for layer in range(num_layers):
            outputs = []
            for direction in range(directions):
                cell = layer * directions + direction
                own = [*weights[cell * per_cell : (cell + 1) * per_cell], None, None][:4]
                state = tuple(_as_data(s[cell]) for s in states)
                found = []
                for value in reversed(steps) if direction else steps:
                    state = step(value, state, own)
                    found.append(state[0])
                outputs.append(found[::-1] if direction else found)
                last.append(state)
            steps = [torch.cat(both, -1) if bidirectional else both[0] for both in zip(*outputs, strict=True)]
        return torch.stack(steps, 1 if batch_first else 0), *(torch.stack(s) for s in zip(*last, strict=True))

    return run


def _as_data(state: Tensor) -> Tensor:
    """A first state that counts as data, as what a loop carries does elsewhere: the same operations are met."""
    if state.requires_grad or not torch.is_grad_enabled():
        return state
    return state.detach().requires_grad_()


def _cell(step: Callable[..., tuple[Tensor, ...]]) -> Callable[..., Any]:
    """The fused function of one step."""

    def run(x: Tensor, state: Any, *weights: Any) -> Any:
        w_x, w_h, b_x, b_h = (*weights, None, None)[:4]
        found = step(x, (state,) if isinstance(state, Tensor) else tuple(state), (w_x, w_h, b_x, b_h))
        return found if len(found) > 1 else found[0]

    return run


COMPOSITIONS: dict[str, Callable[..., Any]] = {
    "layer_norm": layer_norm, "rms_norm": rms_norm, "group_norm": group_norm, "instance_norm": instance_norm,
    "var": var, "std": std, "linalg_vector_norm": vector_norm, "glu": glu,
    "hardsigmoid": hardsigmoid,
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "addmm": addmm, "baddbmm": addmm, "addmv": addmm, "addbmm": addbmm, "addcmul": addcmul, "addcdiv": addcdiv,
    "lerp": lerp,
    "lstm": _recurrent(_lstm_step), "gru": _recurrent(_gru_step),
    "rnn_tanh": _recurrent(_rnn_step(torch.tanh)), "rnn_relu": _recurrent(_rnn_step(torch.relu)),
    "lstm_cell": _cell(_lstm_step), "gru_cell": _cell(_gru_step),
    "rnn_tanh_cell": _cell(_rnn_step(torch.tanh)), "rnn_relu_cell": _cell(_rnn_step(torch.relu)),
}  # fmt: skip


def composed(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], written: bool) -> Callable[..., Any] | None:
    """The composition of a call, which may write on its first tensor; None where there is none for these arguments."""
    found = COMPOSITIONS.get(name)
    if name == "linalg_vector_norm" and (args[1] if len(args) > 1 else kwargs.get("ord", 2)) not in (1, 2):
        return None
    packed = name in ("lstm", "gru", "rnn_tanh", "rnn_relu") and not isinstance(args[3], bool)
    if found is None or packed:
        return None
    return (lambda x, *others, **named: x.copy_(found(x, *others, **named))) if written else found
