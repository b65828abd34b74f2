"""What comes before and after a tensor, read off autograd's graph: an affine operation on some way, or none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from whence.backends.torch.recorded import TorchOp
from whence.core.ops import Tensor


class Lineage:
    """The affine operations met so far, by the nodes that autograd made for their outputs."""

    def __init__(self) -> None:
        self._affine: dict[Any, TorchOp] = {}
        self._late: dict[Any, bool] = {}

    def add(self, output: Tensor, op: TorchOp) -> None:
        """Remember the output of an affine operation."""
        if output.grad_fn is not None:
            self._affine[output.grad_fn] = op

    def is_early(self, x: Tensor) -> bool:
        """Whether no affine operation comes before the tensor."""
        waiting = [x.grad_fn]
        while waiting:
            node = waiting[-1]
            before = [] if node is None or node in self._affine else [n for n, _ in node.next_functions]
            unknown = [n for n in before if n is not None and n not in self._late]
            if node is None or node in self._late or not unknown:
                self._late.setdefault(node, node in self._affine or any(self._late.get(n) for n in before))
                waiting.pop()
            waiting.extend(unknown if node not in self._late else ())
        return not self._late[x.grad_fn]

    def tell_last(self, explained: Iterable[Tensor]) -> None:
        """Tell each affine operation whether another one comes after it, on some way to these tensors."""
        waiting, seen = [(x.grad_fn, False) for x in explained], set()
        while waiting:
            node, is_before = waiting.pop()
            if node is None or (node, is_before) in seen:
                continue
            seen.add((node, is_before))
            if node in self._affine:
                self._affine[node].last &= not is_before
            waiting.extend((n, is_before or node in self._affine) for n, _ in node.next_functions)
