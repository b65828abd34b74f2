"""AblationCAM runs the network before its layer once per sample, unless the model needs rows of equal number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import whence


class Net(nn.Module):
    """A branch goes past the layer ``inner``; with ``joined``, both are put together in rows of equal number."""

    def __init__(self, joined: bool) -> None:
        super().__init__()
        self.joined, self.rows = joined, []
        self.front, self.inner, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        past = self.front(x)
        inner = torch.tanh(self.inner(past))
        both = torch.stack([inner, past]).sum(0) if self.joined else inner + past
        return self.head(both.mean((2, 3)))


@pytest.mark.parametrize("target", [[1, 0], None])
@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("joined", [False, True])
def test_rows_before_the_layer(joined: bool, channels: int | None, target: list[int] | None) -> None:
    torch.manual_seed(0)
    net, x = Net(joined).double().eval(), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    method = whence.AblationCAM(layer="inner", channels=channels, relu=False, upsample="none")
    method.explain(net, x, target)  # finds out what the model takes
    net.rows.clear()
    found = method.explain(net, x, target)
    changes = 4 if channels is None else channels
    first_known = [] if channels is None and target else [2]
    assert net.rows == ([2, 2 * changes] if joined else [*first_known, 1, 1])
    with torch.no_grad():
        past = net.front(x)
        a = net.inner(past)
        outputs = net.head((torch.tanh(a) + past).mean((2, 3)))
        chosen = torch.tensor(target) if target else outputs.argmax(1)
        score = outputs.gather(1, chosen[:, None])[:, 0]
        kept = a.var((2, 3)).argsort(1, descending=True)[:, :changes]
        expected = torch.zeros(2, 4, 4, dtype=torch.float64)
        for i, k in ((sample, k) for sample in range(2) for k in kept[sample]):
            gone = a[i].clone()
            gone[k] = 0
            without = net.head((torch.tanh(gone) + past[i]).mean((1, 2)))[chosen[i]]
            expected[i] += (score[i] - without) / score[i].abs() * a[i, k]
    torch.testing.assert_close(found.attributions, expected, rtol=1e-10, atol=1e-12)
