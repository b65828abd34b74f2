"""What methods say of themselves."""

from __future__ import annotations

import pytest

import whence
from whence.report.descriptions import Description, describe


@pytest.mark.parametrize("name", whence.methods())
def test_every_method_has_one_sentence_and_a_source(name: str) -> None:
    told = describe(name)
    assert told.sentence.endswith(".") and "``" not in told.sentence and "\n" not in told.sentence
    assert "Source" not in told.sentence and told.source and told.links


def test_links() -> None:
    told = Description("m", "M", "S.", "Lundberg and Lee 2017, arXiv 1705.07874; Owen 2014, 10.1137/130936233")
    assert [address for _, address in told.links] == [
        "https://arxiv.org/abs/1705.07874",
        "https://doi.org/10.1137/130936233",
    ]
