"""The page of operations by framework: ``python -m tests.rule_nets.table`` writes it, a test holds it to the facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from .worker import FRAMEWORKS, in_process

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "operations.md"
HEAD = """# Operations with rules

What [DeepLIFT](../methods/deep_lift.md) and [LRP](../methods/lrp.md) do with each operation, on each framework: the
framework's names of the operations that go by a rule. One small network per line, in float64; on every line the
attributions agree between the frameworks. An operation spelled out in several steps has the name of the last.

The tables are written by the test suite (`python -m tests.rule_nets.table`).

## DeepLIFT

*Path* is the derivative averaged along the straight line, *linear* means that nothing needs a rule. On every line the
attributions add up to 1e-8.

"""
LRP = """
## LRP

*Derivative* is the operation's own, which is the rule for what is linear, for relu and for maxima. A hard sigmoid
is relu6(x + 3) / 6 everywhere, whose constant absorbs relevance.

"""
ARCHITECTURES = """
## Architectures of other libraries

`python -m benchmarks zoo` runs guided backprop, DeepLIFT and LRP on networks of timm and torchvision, configurations of
transformers and `keras.applications`, all with random weights, and writes a table for each to `benchmarks/results`;
`pip install 'whence[zoo]'` brings what it needs on PyTorch. Convolutional networks, vision transformers and mixers,
encoders and decoders of text run with a rule for every operation that is not linear, and DeepLIFT adds up to 1e-12
where the model computes in float64. What to know:

- **Relu.** Guided backprop raises `CoverageError` on networks without one: those with silu, gelu or relu6 only.
- **Models with float32 inside.** Some models of transformers (Llama, Qwen2, T5, ViT) normalise or take a softmax in
  float32, whatever their weights are in. So do global average pooling and batch normalisation of Keras on JAX and on
  PyTorch: the gap is that of float32.
- **Whole numbers.** Texts are attributed at the embedding, `layer="bert.embeddings.word_embeddings"`; the baseline is
  given as tokens, such as padding, and must be a text that the model accepts: T5's classifier wants its end.
- **A constant that is taken off inside the model** absorbs relevance: `x / 127.5 - 1`, with which some of
  `keras.applications` begin, leaves little for a small x.
"""


def page(met: Mapping[str, Mapping[str, Any]]) -> str:
    """The page for what rules met by framework and "network/method"."""
    return (
        HEAD
        + _table(met, ("deep_lift",), "*linear*")
        + LRP
        + _table(met, ("lrp gamma", "lrp attn_lrp"), "*derivative*")
        + ARCHITECTURES
    )


def _table(met: Mapping[str, Mapping[str, Any]], methods: Sequence[str], neither: str) -> str:
    rows = [f"| operation | {' | '.join(FRAMEWORKS)} |", "|---" * (1 + len(FRAMEWORKS)) + "|"]
    for key in met[FRAMEWORKS[0]]:
        network, method = key.split("/")
        if method in methods:
            name = network.removeprefix("mlp, ").replace("mobile", "depthwise, squeeze-and-excite")
            cells = (_cell(met[f][key], _dense(met[f], method)) or neither for f in FRAMEWORKS)
            rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _dense(met: Mapping[str, Any], method: str) -> Mapping[str, int]:
    """What has a rule in the network around an operation: dense layers for LRP, where a relu has none."""
    found: Mapping[str, int] = met["mlp, relu/lrp gamma"]["ruled"] if method == "lrp gamma" else {}
    return found


def _cell(counts: Mapping[str, Mapping[str, int]], around: Mapping[str, int]) -> str:
    """What has a rule, apart from what is ``around`` an operation, and what goes by the path."""
    met = (name for name, count in sorted(counts["ruled"].items()) if count > around.get(name, 0))
    ruled = [f"`{name.rpartition('.')[2]}`" for name in met]
    path = [f"*path* (`{name.rpartition('.')[2]}`)" for name in sorted(counts["fallback"])]
    return ", ".join([*ruled, *path])


if __name__ == "__main__":
    out = Path(mkdtemp()) / "found.npz"
    PAGE.write_text(page({framework: in_process(framework, "float64", out)[1] for framework in FRAMEWORKS}))
