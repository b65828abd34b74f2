"""The measure of rounding, held to networks of which one knows what rounding does."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import whence
from tests.rounding import Rounding, measure, rounded, to_arrays

X = np.random.default_rng(0).normal(size=(2, 1, 4, 4))


class Net(nn.Module):
    """A convolution, a relu with an offset, a max-pool, a dense layer."""

    def __init__(self, smooth: bool = False, offset: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(12, 2)
        self.offset = nn.Parameter(torch.tensor(offset))
        self.smooth = smooth

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x) + self.offset
        x = F.avg_pool2d(F.softplus(x), 2) if self.smooth else F.max_pool2d(F.relu(x), 2)
        return self.head(x.flatten(1))


def explain(dtype: str, draw: int | None, **options: float) -> np.ndarray:
    # the weights are those of float32 in both types, exactly
    model, x = rounded(draw, Net(**options).to(getattr(torch, dtype)).eval(), X.astype(np.float32).astype(dtype))
    return np.asarray(whence.explain(model, x, "saliency", 1).attributions)


def at_zero() -> float:
    """The offset that puts one of the maxima of the first sample on the threshold, but for rounding."""
    net = Net().double()
    with torch.no_grad():
        found = F.max_pool2d(net.conv(torch.from_numpy(X.astype(np.float32).astype(np.float64))), 2)
    return -float(found[0].median())


def test_a_threshold_that_rounding_passes_is_the_reason() -> None:
    moved = measure(partial(explain, offset=at_zero()))
    assert moved.most > 1e-2 and moved.passed.max() >= 1 and moved.held < 1e-5
    assert moved.by[:, 1].max() < 1e-5, "the other sample is far from it"
    assert moved.reason(1e-5) == "rounding passes thresholds"


def test_where_no_value_is_near_its_threshold_rounding_moves_little() -> None:
    for moved in (measure(explain), measure(partial(explain, smooth=True))):
        assert 1e-9 < moved.most < 2e-6 and not moved.passed.any()
        assert moved.reason(1e-5) == "rounding, no threshold"


def test_it_is_measured_once_and_for_what_is_asked() -> None:
    asked: list[str] = []

    def find(keys: list[str]) -> dict[str, np.ndarray]:
        asked.extend(keys)
        return to_arrays({key: measure(explain, draws=2) for key in keys})

    rounding = Rounding(find)
    rounding(["a"])
    assert rounding(["a", "b"])["a"].by.shape == (2, 2) and asked == ["a", "b"]
