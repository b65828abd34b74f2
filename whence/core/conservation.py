"""Where relevance goes: its sum at each layer, beside the score that it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Conservation:
    """Sums of relevance per sample, on the way from the score ``[B]`` to the attributed ``inputs`` ``[B]``.

    ``layers`` has the sum ``[B]`` at each layer's output, in the order of the forward pass. Layers beside one another
    share the relevance. ``score`` is the change of the score from the baseline where there is one.
    """

    method: str
    score: Array
    layers: Mapping[str, Array]
    inputs: Array

    def __str__(self) -> str:
        """A table of mean relevance, from the output to the inputs."""
        rows = [("score", self.score), *reversed(list(self.layers.items())), ("inputs", self.inputs)]
        width = max(len(name) for name, _ in rows)
        lines = [f"{self.method}, mean over {len(self.score)} samples"]
        lines += [f"{name:<{width}}  {np.mean(values):.6g}" for name, values in rows]
        return "\n".join(lines)


Conserve = Callable[[tuple[str, ...] | None, int | None], Conservation]
"""``conserve(layers, batch_size)``: the sums at these layers, at all named ones if None."""
