"""What comes before a tensor, read off autograd's graph: an affine operation on some way from the input, or none."""

from __future__ import annotations

from typing import Any

from whence.core.ops import Tensor


class Lineage:
    """The affine operations met so far, by the nodes that autograd made for their outputs."""

    def __init__(self) -> None:
        self._affine: set[Any] = set()
        self._late: dict[Any, bool] = {}

    def add(self, output: Tensor) -> None:
        """Remember the output of an affine operation."""
        if output.grad_fn is not None:
            self._affine.add(output.grad_fn)

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
