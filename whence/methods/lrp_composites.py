"""Which rule of layer-wise relevance propagation goes where: by kind of operation, by position, by layer.

The names are those of the field (Montavon et al. 2019; Kohlbrenner et al. 2020, arXiv 1910.09840; Achtibat et al. 2024,
arXiv 2402.05602). A composite is a list of (matcher, rule), the first match wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from whence.core.rule import Matcher, OpCall, Rule, all_of, is_first, kind_is
from whence.methods.lrp_input_rules import Box, Flat
from whence.methods.lrp_rules import (
    AlphaBeta,
    Epsilon,
    Gamma,
    derivative,
    halves,
    has_statistic,
    identity,
    normalised,
    quotient_halves,
    through,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from whence.methods.lrp import LRP

Rules = tuple[tuple[Matcher, Rule], ...]

OTHERS: Rules = (
    (kind_is("elementwise"), identity),
    (has_statistic, normalised),
    (kind_is("mul", "matmul", "conv"), halves),
    (kind_is("div"), quotient_halves),
    (kind_is("stop_gradient"), through),
    (kind_is("softmax", "log_softmax", "logsumexp"), derivative),
)
"""What every composite does with activations, products and normalisations: the rules of AttnLRP."""
EXACT = ("linear", "discrete", "relu", "max_pool", "max", "min")
"""Kinds whose own derivative is the rule: relevance stays where a maximum is, and a relu or sum keeps it."""

affine = kind_is("affine")


def is_convolution(op: OpCall) -> bool:
    """An affine operation that convolves."""
    return op.kind == "affine" and bool(op.params.get("conv"))


COMPOSITES: Mapping[str, Callable[[LRP], Rules]] = {
    "epsilon": lambda m: ((affine, Epsilon(m.epsilon)),),
    "attn_lrp": lambda m: ((affine, Epsilon(m.epsilon)),),
    "gamma": lambda m: ((affine, Gamma(m.gamma, m.epsilon)),),
    "alpha_beta": lambda m: ((affine, AlphaBeta(m.alpha, m.alpha - 1, m.epsilon)),),
    "z_plus": lambda m: ((affine, AlphaBeta(1.0, 0.0, m.epsilon)),),
    "epsilon_gamma": lambda m: ((is_convolution, Gamma(m.gamma, m.epsilon)), (affine, Epsilon(m.epsilon))),
    "epsilon_gamma_box": lambda m: (
        (all_of(is_first, is_convolution), Box(m.low, m.high, m.epsilon)),
        *COMPOSITES["epsilon_gamma"](m),
    ),
    "epsilon_plus": lambda m: ((is_convolution, AlphaBeta(1.0, 0.0, m.epsilon)), (affine, Epsilon(m.epsilon))),
    "epsilon_plus_flat": lambda m: ((is_first, Flat()), *COMPOSITES["epsilon_plus"](m)),
    "epsilon_alpha2_beta1": lambda m: ((is_convolution, AlphaBeta(2.0, 1.0, m.epsilon)), (affine, Epsilon(m.epsilon))),
    "epsilon_alpha2_beta1_flat": lambda m: ((is_first, Flat()), *COMPOSITES["epsilon_alpha2_beta1"](m)),
}
