"""Real handwritten digits, 8 by 8, and a page of them to explain: some of each class, and some that the model mistakes.

Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; in scikit-learn as ``load_digits``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = 10


@dataclass(frozen=True)
class Digits:
    """Images ``[N, 1, 8, 8]`` between 0 (paper) and 1 (ink), float32, and their classes ``[N]``."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> Digits:
        """The digits at these positions."""
        return Digits(self.images[rows], self.labels[rows])


def load() -> tuple[Digits, Digits]:
    """Digits to train on and to test on: the first and the second half, which other hands wrote in part."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    labels = data.target.astype(np.int64)
    half = len(images) // 2
    return Digits(images[:half], labels[:half]), Digits(images[half:], labels[half:])


def page(labels: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """Positions of ``count`` digits: right ones class by class, then, as the last fifth, wrong ones."""
    wrong = np.flatnonzero(predicted != labels)[: count // 5]
    right = np.flatnonzero(predicted == labels)
    by_class = [right[labels[right] == c] for c in range(CLASSES)]
    turns = max(map(len, by_class), default=0)
    in_turn = [rows[turn] for turn in range(turns) for rows in by_class if turn < len(rows)]
    chosen = np.array(in_turn[: count - len(wrong)], np.int64)
    return np.concatenate([chosen[np.argsort(labels[chosen], kind="stable")], wrong])
