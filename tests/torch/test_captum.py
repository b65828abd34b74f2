"""whence and Captum agree on every attribution that both offer."""

from __future__ import annotations

import pytest

pytest.importorskip("captum")

from benchmarks.agreement_captum import NETWORKS, TOLERANCE, Comparison, Network, comparisons

CASES = [(network, comparison) for network in NETWORKS for comparison in comparisons(network)]


@pytest.mark.parametrize(
    ("network", "comparison"), CASES, ids=[f"{network.name}: {comparison.name}" for network, comparison in CASES]
)
def test_agrees_with_captum(network: Network, comparison: Comparison) -> None:
    assert comparison.difference() <= TOLERANCE
