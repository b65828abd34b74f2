"""Texts as arrays of word numbers, so that methods can take words away from models that read strings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whence.core.errors import ParameterError
from whence.core.features import Features, Part
from whence.core.layout import Layout


@dataclass(frozen=True)
class Texts:
    """Strings cut into words and what stands between them.

    ``ids [B, T]`` number the words from 1; 0 is a word that was taken away, or the end of a shorter text. Explain
    ``texts.model(predict)`` at ``texts.ids`` with ``feature_mask=texts.words()``. ``split``: a regular expression of
    what separates words. ``together``: equal words of a text are one feature (a bag of words), else each position is.
    ``unknown``: what is written in the place of an absent word; nothing if None.
    """

    texts: Sequence[str]
    split: str = r"\W+"
    together: bool = True
    unknown: str | None = None
    vocabulary: tuple[str, ...] = field(init=False, repr=False)
    ids: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.texts, str) or not self.texts or not all(isinstance(t, str) for t in self.texts):
            raise ParameterError("texts", received=repr(self.texts), valid="a non-empty list of strings")
        rows = [[part for part in re.split(self.split, text) if part] for text in self.texts]
        if not all(rows):
            raise ParameterError("texts", received="a text without words", valid="one word in each at least")
        known = tuple(dict.fromkeys(word for row in rows for word in row))
        number = {word: i + 1 for i, word in enumerate(known)}
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for b, row in enumerate(rows):
            ids[b, : len(row)] = [number[word] for word in row]
        object.__setattr__(self, "vocabulary", known)
        object.__setattr__(self, "ids", ids)

    def words(self) -> Features:
        """The words as features, under their names."""
        return _Words(self)

    def model(self, predict: Callable[[list[str]], Any]) -> Callable[[np.ndarray], np.ndarray]:
        """A function of word numbers ``[K, T]`` that calls ``predict`` with a list of K strings.

        A text keeps what stands between its words where all words are there; elsewhere what is left is put together
        with spaces.
        """
        whole = {tuple(row): text for row, text in zip(self.ids.tolist(), self.texts, strict=True)}

        def on_numbers(ids: np.ndarray) -> np.ndarray:
            return np.asarray(predict([whole.get(tuple(row)) or self.written(row) for row in np.asarray(ids).tolist()]))

        return on_numbers

    def written(self, row: Sequence[int]) -> str:
        """The words of one row of numbers; what follows the last word is the end."""
        absent = [] if self.unknown is None else [self.unknown]
        last = max((i for i, number in enumerate(row) if number), default=-1)
        return " ".join(w for n in row[: last + 1] for w in ([self.vocabulary[n - 1]] if n else absent))


class _Words(Features):
    """The features of texts: word numbers, or positions."""

    reads_values = False

    def __init__(self, texts: Texts) -> None:
        self.texts = texts

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        ids = self.texts.ids
        if values.shape != ids.shape:
            raise ParameterError(f"words of {what}", received=f"shape {values.shape}", valid=f"texts.ids, {ids.shape}")
        if self.texts.together:
            return Part(np.where(ids > 0, ids - 1, -1), self.texts.vocabulary)
        numbers = np.arange(ids.size).reshape(ids.shape)
        names = tuple(self.texts.vocabulary[n - 1] if n else "" for n in ids.ravel())
        return Part(np.where(ids > 0, numbers, -1), names)

    def __repr__(self) -> str:
        return f"{self.texts!r}.words()"
