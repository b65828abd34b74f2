"""The networks in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import weights

Fn = Callable[[Tensor], Tensor]


def _in_place(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True)


OPERATIONS: dict[str, Fn] = {
    "relu": F.relu, "relu in place": _in_place, "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "relu6": F.relu6,
    "elu": F.elu, "selu": F.selu, "celu": F.celu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "softplus": F.softplus, "softsign": F.softsign, "silu": F.silu, "x * sigmoid(x)": lambda x: x * torch.sigmoid(x),
    "gelu": F.gelu, "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"), "hard_swish": F.hardswish, "mish": F.mish,
    "hard_sigmoid": F.hardsigmoid, "log_sigmoid": F.logsigmoid, "exp": torch.exp, "log": lambda x: torch.log(x * x + 1),
    "sqrt": lambda x: torch.sqrt(x * x + 1), "rsqrt": lambda x: torch.rsqrt(x * x + 1), "power": lambda x: x**3,
    "abs": torch.abs, "clip": lambda x: x.clamp(-0.4, 0.5), "erf": torch.erf,
    "where": lambda x: torch.where(x > 0.1, x, x * x), "x * (x > 0)": lambda x: x * (x > 0),
    "softmax": lambda x: torch.softmax(x, -1), "log_softmax": lambda x: F.log_softmax(x, -1),
    "logsumexp": lambda x: x + torch.logsumexp(x, -1, keepdim=True),
    "max": lambda x: x + x.amax(-1, keepdim=True), "maximum": lambda x: torch.maximum(x, -2 * x.flip(-1)),
    "minimum": lambda x: torch.minimum(x, x.flip(-1)), "mul": lambda x: x * x.flip(-1),
    "div": lambda x: x / (1 + x.flip(-1) ** 2), "matmul": lambda x: (x[:, :, None] @ x[:, None, :]).mean(-1),
    "layer_norm": lambda x: F.layer_norm(x, (8,), eps=1e-3), "rms_norm": lambda x: F.rms_norm(x, (8,), eps=1e-3),
    "group_norm": lambda x: F.group_norm(x, 2, eps=1e-3), "std": lambda x: x / x.std(-1, unbiased=False, keepdim=True),
    "glu": lambda x: F.glu(torch.cat([x, x.flip(-1)], -1)),
    "max_pool": lambda x: F.max_pool1d(x[:, None], 3, 2)[:, 0].repeat(1, 3)[:, :8],
    "cumulative product": lambda x: torch.cumprod(x, -1),
    "concat, split, gather": lambda x: torch.cat([torch.tanh(p) for p in x.split(2, -1)], -1)[
        :, [3, 1, 1, 0, 4, 5, 7, 6]
    ],
}  # fmt: skip


class Mlp(nn.Module):
    """Dense, an operation, dense."""

    def __init__(self, operation: Fn, dtype: str) -> None:
        super().__init__()
        w = {name: torch.from_numpy(a).to(getattr(torch, dtype)) for name, a in weights.mlp().items()}
        self.first, self.last = nn.Linear(weights.FEATURES, weights.HIDDEN), nn.Linear(weights.HIDDEN, weights.CLASSES)
        self.first.weight, self.first.bias = nn.Parameter(w["w1"].T.contiguous()), nn.Parameter(w["b1"])
        self.last.weight, self.last.bias = nn.Parameter(w["w2"].T.contiguous()), nn.Parameter(w["b2"])
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.operation(self.first(x)))


def mlp(operation: str, dtype: str) -> nn.Module:
    """The network around one operation."""
    return Mlp(OPERATIONS[operation], dtype).eval()


class Mobile(nn.Module):
    """Convolution, batch norm, hard swish, depthwise convolution, silu, squeeze-and-excite, a residual, mean, dense."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        w = {name: torch.from_numpy(a) for name, a in weights.mobile().items()}
        self.stem, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, eps=0)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.squeeze, self.excite = nn.Linear(6, 3), nn.Linear(3, 6)
        self.point, self.head = nn.Conv2d(6, 6, 1, bias=False), nn.Linear(6, weights.CLASSES, bias=False)
        self.to(getattr(torch, dtype))
        with torch.no_grad():
            self.stem.weight.copy_(w["stem"].permute(3, 2, 0, 1))
            self.norm.weight.copy_(w["factor"])
            self.norm.bias.copy_(w["offset"])
            self.depthwise.weight.copy_(w["depthwise"].permute(2, 3, 0, 1))
            self.point.weight.copy_(w["point"].permute(3, 2, 0, 1))
            self.head.weight.copy_(w["head"].T)
            for layer, name in ((self.squeeze, "squeeze"), (self.excite, "excite")):
                layer.weight.copy_(w[name].T)
                layer.bias.copy_(w[f"{name}_b"])

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.norm(self.stem(x.permute(0, 3, 1, 2))))
        h = F.silu(self.depthwise(x))
        s = torch.sigmoid(self.excite(F.relu(self.squeeze(h.mean((2, 3))))))
        x = x + self.point(h * s[:, :, None, None])
        return self.head(F.relu(x).mean((2, 3)))


class Lstm(nn.Module):
    """The fused LSTM, and a dense layer on its last state."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        w = {name: torch.from_numpy(a) for name, a in weights.lstm().items()}
        self.lstm, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, weights.CLASSES, bias=False)
        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(w["input"].T)
            self.lstm.weight_hh_l0.copy_(w["state"].T)
            self.lstm.bias_ih_l0.copy_(w["bias"])
            self.lstm.bias_hh_l0.zero_()
            self.head.weight.copy_(w["head"].T)
        self.to(getattr(torch, dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    """Embedding with positions, a block of attention and dense layers behind layer norms, mean, dense."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        for name, array in weights.attention().items():
            self.register_buffer(name, torch.from_numpy(array).to(getattr(torch, dtype)))

    def forward(self, x: Tensor) -> Tensor:
        e = x @ self.embed + self.position
        n = F.layer_norm(e, (6,), eps=1e-3)
        e = e + F.scaled_dot_product_attention(n @ self.query, n @ self.key, n @ self.value) @ self.out
        n = F.layer_norm(e, (6,), self.factor, self.offset, eps=1e-3)
        e = e + F.gelu(F.linear(n, self.up.T, self.up_b)) @ self.down
        return e.mean(1) @ self.head


MODELS: dict[str, Callable[[str], nn.Module]] = {
    "mobile": lambda d: Mobile(d).eval(), "lstm": lambda d: Lstm(d).eval(), "attention": lambda d: Attention(d).eval(),
}  # fmt: skip


def tensor(array: weights.Array, dtype: str) -> Tensor:
    """An input."""
    return torch.from_numpy(array).to(getattr(torch, dtype))
