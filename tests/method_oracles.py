"""Every method against `tests.oracles`, on small networks with the same weights in any framework.

`check("torch", "gradient_shap", "float64", "tanh")` runs one of `CASES`. The oracle computes in float64 from the values
the framework was given (weights, inputs and draws as rounded to its precision).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import whence
from tests import oracle_models, oracles
from tests.oracles import Array
from whence.core.backend import backend_named
from whence.core.rule import is_first
from whence.core.sampling import draw, normal, uniform
from whence.methods.lrp_input_rules import Box, Flat, WSquare

PROMISED = {"float64": 1e-12, "float32": 1e-5}
RULES = ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gauss_legendre")
TARGETS = [2, 0, 1, 1]
"""The class explained for each sample of the batch."""
SEED, N_DRAWS, STDEV = 5, 12, 0.3
Explained = Callable[..., Array]


@dataclass(frozen=True)
class Setting:
    """One network in one framework and precision."""

    framework: str
    dtype: str
    activation: str

    def rounded(self, a: Array) -> Array:
        return a.astype(self.dtype).astype(np.float64)

    def given(self, a: Array) -> npt.NDArray[Any]:
        """As handed to the framework."""
        return a.astype(self.dtype)

    @cached_property
    def net(self) -> oracle_models.MLP:
        net = oracle_models.mlp(self.activation)
        return replace(net, **{name: self.rounded(getattr(net, name)) for name in ("w1", "b1", "w2", "b2")})

    @cached_property
    def x(self) -> Array:
        return self.rounded(oracle_models.inputs())

    @cached_property
    def baseline(self) -> Array:
        return self.rounded(oracle_models.baselines())

    @cached_property
    def rows(self) -> Array:
        return self.rounded(oracle_models.reference_rows())

    @cached_property
    def model(self) -> Any:
        return whence.wrap(network(self.framework, self.net), framework=self.framework)

    @cached_property
    def model_of_halves(self) -> Any:
        forward, ops = network(self.framework, self.net), backend_named(self.framework).ops
        return whence.wrap(lambda a, b: forward(ops.concat([a, b], axis=1)), framework=self.framework)

    def explain(
        self, method: whence.Method, target: Any = TARGETS, batch_size: int | None = None
    ) -> whence.Explanation:
        return method.explain(self.model, self.given(self.x), target, batch_size=batch_size).numpy()

    def close(self, found: Any, expected: Array) -> None:
        """Within the promise for this precision, relative to the largest value."""
        close(found, expected, PROMISED[self.dtype])

    def normal(self, stream: str, shape: tuple[int, ...] = (oracle_models.N_FEATURES,), seed: int = SEED) -> Array:
        return drawn(normal, stream, shape, seed)

    def noise(self, stream: str, relative: bool) -> Array:
        """Normal noise as documented: a share of each sample's max - min, or absolute."""
        scale = [STDEV * (row.max() - row.min() if relative else 1.0) for row in self.x]
        return self.normal(stream) * np.array(scale)[None, :, None]

    def each(self, oracle: Explained, *arrays: Array, targets: Sequence[int] = TARGETS) -> Array:
        """An oracle of (score, gradient, x, *arrays) with each sample's own target; arrays are [draw, B, ...]."""
        return each(oracle, self.net.score, self.net.gradient, self.x, *arrays, targets=targets)


def network(framework: str, net: oracle_models.MLP) -> Callable[[Any], Any]:
    """The network as a plain function on a framework's tensors [B, features]."""
    weights, is_tanh = (net.w1, net.b1, net.w2, net.b2), net.activation == "tanh"

    def forward(x: Any) -> Any:
        ops = backend_named(framework).ops
        w1, b1, w2, b2 = (ops.asarray(w, like=x) for w in weights)
        z = ops.matmul(x, w1) + b1
        return ops.matmul(ops.tanh(z) if is_tanh else ops.maximum(z, ops.zeros_like(z)), w2) + b2

    return forward


def close(found: Any, expected: Array, tolerance: float) -> None:
    assert found.shape == expected.shape
    worst, scale = np.abs(np.asarray(found, np.float64) - expected).max(), np.abs(expected).max()
    assert worst <= tolerance * scale, f"off by {worst:.3g} where the largest value is {scale:.3g}"


def drawn(fill: Any, stream: str, shape: tuple[int, ...], seed: int = SEED, **options: Any) -> Array:
    samples, draws = range(oracle_models.BATCH), range(N_DRAWS)
    values = draw(fill, shape, seed=seed, stream=stream, samples=samples, draws=draws, **options)
    return values.astype(np.float64)


def each(
    oracle: Explained, score: Any, gradient: Any, x: Array, *arrays: Array, targets: Sequence[int] = TARGETS
) -> Array:
    rows = []
    for b, target in enumerate(targets):
        of_b = [a[:, b : b + 1] for a in arrays]
        rows.append(oracle(lambda v, t=target: score(v, t), lambda v, t=target: gradient(v, t), x[b : b + 1], *of_b))
    return np.concatenate(rows)


def saliency(s: Setting) -> None:
    expected = s.each(lambda f, df, x: oracles.saliency(df, x))
    found = s.explain(whence.Saliency())
    s.close(found.attributions, expected)
    s.close(found.score, s.each(lambda f, df, x: np.array([f(x[0])])))
    same = s.each(lambda f, df, x: oracles.saliency(df, x), targets=[1] * len(s.x))
    s.close(s.explain(whence.Saliency(), 1).attributions, same)
    s.close(s.explain(whence.Saliency(), lambda y: y[:, 1]).attributions, same)
    predicted = [int(np.argmax([s.net.score(row, t) for t in range(oracle_models.N_CLASSES)])) for row in s.x]
    best = s.each(lambda f, df, x: oracles.saliency(df, x), targets=predicted)
    s.close(s.explain(whence.Saliency(), None).attributions, best)


def input_x_gradient(s: Setting) -> None:
    expected = s.each(lambda f, df, x: oracles.input_x_gradient(df, x))
    s.close(s.explain(whence.InputXGradient()).attributions, expected)


def _integrated_gradients(s: Setting, rule: str) -> None:
    for n_steps in (2, 7, 50):
        found = s.explain(whence.IntegratedGradients(baseline=s.given(s.baseline), n_steps=n_steps, rule=rule))
        expected = s.each(
            lambda f, df, x, base, n=n_steps: oracles.integrated_gradients(df, x, base[0], n, rule), s.baseline[None]
        )
        s.close(found.attributions, expected)
        gap = s.each(
            lambda f, df, x, a, base: oracles.completeness_gap(f, a[0], x, base[0]), expected[None], s.baseline[None]
        )
        scale = np.abs(found.score).max()
        assert np.abs(found.delta - gap).max() <= PROMISED[s.dtype] * scale
        s.close(found.baseline_score, s.each(lambda f, df, x, base: np.array([f(base[0][0])]), s.baseline[None]))


def through_relu(s: Setting, method: whence.Method, how: str) -> None:
    """One relu between two affine layers, as `oracles.relu_back` says; refused where there is no relu."""
    if s.activation != "relu":
        with pytest.raises(whence.errors.CoverageError, match="none applies"):
            s.explain(method)
        return
    above = [s.net.gradient_at_hidden(s.net.hidden(row), t) for row, t in zip(s.x, TARGETS, strict=True)]
    below = [oracles.relu_back(g, s.net.before(row), how) for g, row in zip(above, s.x, strict=True)]
    found = s.explain(method)
    s.close(found.attributions, np.stack([s.net.w1 @ g for g in below]))
    s.close(found.score, s.each(lambda f, df, x: np.array([f(x[0])])))
    assert sum(found.provenance.coverage["ruled"].values()) == 1


def deep_lift(s: Setting) -> None:
    """The chain of multipliers of affine, nonlinearity, affine; completeness; the same layer by layer."""
    method = whence.DeepLIFT(baseline=s.given(s.baseline))
    found = s.explain(method, batch_size=3)
    expected = _deep_lift(s, s.baseline)
    s.close(found.attributions, expected)
    s.close(found.baseline_score, s.each(lambda f, df, x, base: np.array([f(base[0][0])]), s.baseline[None]))
    assert np.abs(found.delta).max() <= PROMISED[s.dtype] * np.abs(found.score).max()
    assert sum(found.provenance.coverage["ruled"].values()) == 1 and not found.provenance.coverage["fallback"]
    revealed = s.explain(replace(method, rule="reveal_cancel"), batch_size=3)
    s.close(revealed.attributions, _reveal_cancel(s, s.baseline))
    assert np.abs(revealed.delta).max() <= PROMISED[s.dtype] * np.abs(revealed.score).max()
    assert ", " in "".join(revealed.provenance.coverage["ruled"]) and not revealed.provenance.coverage["fallback"]
    s.close(s.explain(method, None).attributions, _deep_lift(s, s.baseline, s.explain(method, None).target[:, 0]))
    constant = s.explain(whence.DeepLIFT(baseline=s.given(s.x)))
    s.close(constant.attributions, np.zeros_like(s.x))


def _deep_lift(s: Setting, baselines: Array, targets: Sequence[int] = TARGETS) -> Array:
    rows = [oracles.deep_lift(s.net, x, x0, t) for x, x0, t in zip(s.x, baselines, targets, strict=True)]
    return np.stack(rows)


def _reveal_cancel(s: Setting, baselines: Array) -> Array:
    layers = [(s.net.w1, s.net.b1), (s.net.w2, s.net.b2)]
    rows = [
        oracles.reveal_cancel(layers, s.net.activate, x, x0, t)
        for x, x0, t in zip(s.x, baselines, TARGETS, strict=True)
    ]
    return np.stack(rows)


def deep_lift_shap(s: Setting) -> None:
    """The mean of DeepLIFT over the rows of a data set, or over draws."""
    each_row = np.stack([_deep_lift(s, np.stack([row] * len(s.x))) for row in s.rows])
    scores = s.each(lambda f, df, x, base: np.array([np.mean([f(b[0]) for b in base])]), np.stack([s.rows] * 4, 1))
    for given in (s.given(s.rows), whence.baselines.DataSet(s.given(s.rows))):
        found = s.explain(whence.DeepLIFTSHAP(baseline=given), batch_size=5)
        s.close(found.attributions, each_row.mean(axis=0))
        s.close(found.baseline_score, scores)
        assert found.std_error is None
        assert np.abs(found.delta).max() <= 2 * PROMISED[s.dtype] * np.abs(found.score).max()
    revealed = s.explain(whence.DeepLIFTSHAP(baseline=s.given(s.rows), rule="reveal_cancel"))
    s.close(revealed.attributions, np.mean([_reveal_cancel(s, np.stack([row] * len(s.x))) for row in s.rows], axis=0))
    drawn_ones = 0.5 + 2.0 * s.normal("baseline/0", seed=9)
    found = s.explain(whence.DeepLIFTSHAP(baseline=whence.baselines.Gaussian(0.5, 2.0, seed=9), n_samples=N_DRAWS))
    terms = np.stack([_deep_lift(s, drawn) for drawn in drawn_ones])
    s.close(found.attributions, terms.mean(axis=0))
    s.close(found.std_error, oracles.standard_error(terms))


def lrp(s: Setting) -> None:
    """Each rule layer by layer; what is missing of the score is what biases and the stabiliser absorbed."""
    for how in ("epsilon", "gamma", "alpha_beta", "z_plus"):
        for epsilon in (1e-6, 0.2):
            found = s.explain(whence.LRP(composite=how, epsilon=epsilon), batch_size=3)
            rows = [oracles.lrp(s.net, x, t, how, epsilon) for x, t in zip(s.x, TARGETS, strict=True)]
            s.close(found.attributions, np.stack(rows))
            absorbed = found.score - np.stack(rows).sum(axis=1)
            assert np.abs(found.provenance.notes["absorbed"] - absorbed).max() <= 20 * PROMISED[s.dtype]
    firsts = {"box": Box(-2, 3, 1e-6), "w_square": WSquare(), "flat": Flat()}
    x = s.x.copy()
    x[:, ::2] = 0  # an input of zero has relevance, too
    for name, rule in firsts.items():
        method = whence.LRP(composite="gamma", overrides=((is_first, rule),))
        found = method.explain(s.model, s.given(x), TARGETS).numpy()
        s.close(found.attributions, np.stack([oracles.lrp(s.net, row, t, "gamma", 1e-6, name)
                                              for row, t in zip(x, TARGETS, strict=True)]))  # fmt: skip
    without = Setting(s.framework, s.dtype, s.activation)
    without.__dict__["net"] = replace(s.net, b1=0 * s.net.b1, b2=0 * s.net.b2)
    exact = s.dtype == "float64"
    methods = [whence.LRP(composite=how) for how in ("epsilon", "gamma", "epsilon_plus_flat")]
    methods += [whence.LRP(overrides=((is_first, rule),)) for rule in (Box(-9, 9, 1e-12), WSquare())]
    for method in methods:
        kept = without.explain(replace(method, epsilon=1e-12 if exact else 1e-9))
        lost = np.abs(kept.provenance.notes["absorbed"]).max()
        assert lost <= (1e-8 if exact else 1e-4) * np.abs(kept.score).max()


def integrated_gradients_baselines(s: Setting) -> None:
    constant = np.full(s.x.shape, 0.25)
    normal_baseline = 0.5 + 2.0 * s.normal("baseline/0", seed=9)[0]
    for given, meant in (
        ("zeros", 0 * constant),
        (0.25, constant),
        ("min", np.stack([np.full(row.shape, row.min()) for row in s.x])),
        ("max", np.stack([np.full(row.shape, row.max()) for row in s.x])),
        ("mean", np.stack([np.full(row.shape, row.mean()) for row in s.x])),
        (s.given(s.rows[0]), np.stack([s.rows[0]] * len(s.x))),
        (whence.baselines.Gaussian(0.5, 2.0, seed=9), normal_baseline),
    ):
        found = s.explain(whence.IntegratedGradients(baseline=given, n_steps=6), batch_size=5)
        oracle = s.each(lambda f, df, x, base: oracles.integrated_gradients(df, x, base[0], 6), meant[None])
        s.close(found.attributions, oracle)


def integrated_gradients_tol(s: Setting, tol: float = 0.01) -> None:
    """The error that `tol` promises, against the midpoint rule with 2000 steps."""
    found = s.explain(whence.IntegratedGradients(baseline=s.given(s.baseline), tol=tol))
    exact = s.each(lambda f, df, x, base: oracles.integrated_gradients(df, x, base[0], 2000), s.baseline[None])
    error = np.linalg.norm(found.attributions - exact, axis=1) / np.linalg.norm(exact, axis=1)
    notes = found.provenance.notes
    assert len(notes["n_steps"]) == len(notes["estimated_error"]) == len(s.x)
    assert max(notes["estimated_error"]) <= tol and max(notes["n_steps"]) <= 1000
    assert error.max() <= 1.5 * tol, (error, notes)


def _noise_tunnel(s: Setting, kind: str, errors: bool) -> None:
    for relative in (True, False):
        noise = s.noise("noise_tunnel/0", relative)
        for inner, explain in _inner(s)[: 1 if errors else None]:
            options = {"n_samples": N_DRAWS, "stdev": STDEV, "relative": relative, "seed": SEED, "inner": inner}
            found = s.explain(whence.NoiseTunnel(kind=kind, **options), batch_size=5)
            mean, error = _summary(s, kind, explain, noise)
            if errors:
                s.close(found.std_error, error)
            else:
                s.close(found.attributions, mean)
        if errors:
            continue
        named = {"smoothgrad": whence.SmoothGrad, "smoothgrad_squared": whence.SmoothGradSquared}
        method = named.get(kind, whence.VarGrad)(n_samples=N_DRAWS, stdev=STDEV, relative=relative, seed=SEED)
        s.close(s.explain(method).attributions, _summary(s, kind, _inner(s)[0][1], noise)[0])


def _inner(s: Setting) -> list[tuple[whence.Method, Explained]]:
    zero = np.zeros((1, oracle_models.N_FEATURES))
    return [
        (whence.Saliency(), oracles.saliency),
        (whence.InputXGradient(), oracles.input_x_gradient),
        (whence.IntegratedGradients(n_steps=4), lambda df, x: oracles.integrated_gradients(df, x, zero, 4)),
    ]


def _summary(s: Setting, kind: str, explain: Explained, noise: Array) -> tuple[Array, Array]:
    """A kind of noise tunnel and its standard error, from the oracles."""
    oracle = getattr(oracles, kind)
    mean = s.each(lambda f, df, x, e: oracle(lambda v: explain(df, v), x, e), noise)

    def error(f: Any, df: Any, x: Array, e: Array) -> Array:
        if kind == "vargrad":
            return oracles.vargrad_standard_error(lambda v: explain(df, v), x, e)
        terms = oracles.noisy_terms(lambda v: explain(df, v), x, e)
        return oracles.standard_error(terms if kind == "smoothgrad" else terms**2)

    return mean, s.each(error, noise)


def _baseline_draws(s: Setting) -> list[tuple[Any, Array]]:
    """What is given as a distribution of baselines, and the draws [draw, B, ...] that it stands for."""
    shape = (oracle_models.N_FEATURES,)
    return [
        (0.25, np.full((N_DRAWS, *s.x.shape), 0.25)),
        (whence.baselines.DataSet(s.given(s.rows), seed=9), s.rows[drawn_rows(len(s.rows), 9)]),
        (s.given(s.rows), s.rows[drawn_rows(len(s.rows), SEED)]),  # a bare array is drawn from with the method's seed
        (whence.baselines.Gaussian(0.5, 2.0, seed=9), 0.5 + 2.0 * s.normal("baseline/0", seed=9)),
        (whence.baselines.Uniform(-1.0, 2.0, seed=9), -1 + 3 * drawn(uniform, "baseline/0", shape, 9)),
    ]


def drawn_rows(n: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices [draw, B] of rows, each as likely as the others."""
    return np.floor(drawn(uniform, "baseline/row", (), seed) * n).astype(np.int64)


def gradient_shap(s: Setting) -> None:
    alphas = drawn(uniform, "gradient_shap/alpha/None", ())
    for stdev in (0.0, 0.2):
        noise = stdev * s.normal("gradient_shap/noise/0")
        for given, baselines in _baseline_draws(s):
            method = whence.GradientSHAP(baseline=given, n_samples=N_DRAWS, stdev=stdev, seed=SEED)
            found = s.explain(method, batch_size=5)
            draws = (baselines, alphas, noise)
            mean = s.each(lambda f, df, x, *d: oracles.expected_gradients(df, x, *d), *draws)
            s.close(found.attributions, mean)
            terms = s.each(
                lambda f, df, x, *d: oracles.standard_error(oracles.expected_gradients_terms(df, x, *d)), *draws
            )
            s.close(found.std_error, terms)
            gap = s.each(
                lambda f, df, x, a, base: oracles.expected_completeness_gap(f, a[0], x, base), mean[None], baselines
            )
            assert np.abs(found.delta - gap).max() <= PROMISED[s.dtype] * np.abs(found.score).max()


def two_inputs(s: Setting) -> None:
    """A model of two tensors is a model of their features side by side; rows of a data set stay together."""
    x, rows = s.given(s.x), s.given(s.rows)
    first, second = x[:, :2], x[:, 2:]
    method = whence.IntegratedGradients(baseline=(s.given(s.baseline)[:, :2], s.given(s.baseline)[:, 2:]), n_steps=5)
    found = method.explain(s.model_of_halves, (first, second), TARGETS).numpy()
    oracle = s.each(lambda f, df, x, base: oracles.integrated_gradients(df, x, base[0], 5), s.baseline[None])
    s.close(np.concatenate(found.attributions, axis=1), oracle)

    data = whence.baselines.DataSet((rows[:, :2], rows[:, 2:]), seed=9)
    shap = whence.GradientSHAP(baseline=data, n_samples=N_DRAWS, stdev=0.2, seed=SEED)
    halves = [s.normal(f"gradient_shap/noise/{leaf}", (size,)) for leaf, size in ((0, 2), (1, 4))]
    draws = (
        s.rows[drawn_rows(len(rows), 9)],
        drawn(uniform, "gradient_shap/alpha/None", ()),
        0.2 * np.concatenate(halves, axis=2),
    )
    found = shap.explain(s.model_of_halves, (first, second), TARGETS).numpy()
    oracle = s.each(lambda f, df, x, *d: oracles.expected_gradients(df, x, *d), *draws)
    s.close(np.concatenate(found.attributions, axis=1), oracle)


CASES: dict[str, Callable[[Setting], None]] = {
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    **{f"integrated_gradients {rule}": lambda s, rule=rule: _integrated_gradients(s, rule) for rule in RULES},
    "integrated_gradients baselines": integrated_gradients_baselines,
    "integrated_gradients tol": integrated_gradients_tol,
    **{
        f"noise_tunnel {kind}{what}": lambda s, kind=kind, errors=bool(what): _noise_tunnel(s, kind, errors)
        for kind in ("smoothgrad", "smoothgrad_squared", "vargrad")
        for what in ("", " standard error")
    },
    "gradient_shap": gradient_shap,
    "guided_backprop": lambda s: through_relu(s, whence.GuidedBackprop(), "guided"),
    "deconvnet": lambda s: through_relu(s, whence.Deconvnet(), "deconvnet"),
    "deep_lift": deep_lift,
    "deep_lift_shap": deep_lift_shap,
    "lrp": lrp,
    "two inputs": two_inputs,
}


def check(framework: str, case: str, dtype: str, activation: str) -> None:
    """One of `CASES` on one framework; AssertionError says by how much it is off."""
    CASES[case](setting(framework, dtype, activation))


@cache
def setting(framework: str, dtype: str, activation: str) -> Setting:
    """The same model for all cases, so that what a framework compiled is used again."""
    return Setting(framework, dtype, activation)
