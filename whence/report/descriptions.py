"""What a method says of itself: its class, one sentence and its source, read from the docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from whence.core.registry import method_class, method_names


@dataclass(frozen=True)
class Description:
    """One method; ``links`` are (text, address) of the papers named in ``source``."""

    name: str
    class_name: str
    sentence: str
    source: str

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """Papers on arXiv and by DOI."""
        arxiv = [(f"arXiv {number}", f"https://arxiv.org/abs/{number}")
                 for number in re.findall(r"arXiv[: ](\d{4}\.\d{4,5})", self.source)]  # fmt: skip
        doi = [(f"doi {number}", f"https://doi.org/{number}")
               for number in re.findall(r"\b(10\.\d{4,}/\S+\w)", self.source)]  # fmt: skip
        return (*arxiv, *doi)


def describe(name: str) -> Description:
    """The description of the method of that name."""
    found = method_class(name)
    text = inspect.cleandoc(found.__doc__ or "").replace("``", "")
    first = " ".join(text.split("\n\n")[0].partition("Source: ")[0].split())
    sentence = re.split(r"(?<!et al)\. (?=[A-Z])", first, maxsplit=1)[0].rstrip(". ") + "."
    rest = " ".join(text.partition("Source: ")[2].split())
    # a source is a sentence, but its own full stops, in "et al." and in numbers, do not end it
    source = re.split(r"(?<!et al)\. ", rest, maxsplit=1)[0].rstrip(". ")
    return Description(name, found.__name__, sentence, source)


def descriptions() -> tuple[Description, ...]:
    """All methods, in the registry's order."""
    return tuple(describe(name) for name in method_names())
