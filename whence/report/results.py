"""The demonstration's results: one network in several frameworks, a page of digits, every case explained on each."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

import whence
from whence.core.errors import CapabilityError, LayerError, ParameterError, ShapeError
from whence.core.explanation import Explanation
from whence.report.cases import BACKGROUND, Case
from whence.report.digits import Digits, load, page
from whence.report.digits_models.weights import Weights, initial
from whence.report.frameworks import Framework

DTYPES = ("float32", "float64")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """One explanation on one framework; ``values`` are its attributions ``[B, C, H, W]`` as NumPy, C = 1 of maps."""

    explanation: Explanation
    values: np.ndarray

    @property
    def gap(self) -> float | None:
        """The largest |delta| relative to the change of the score; None without a claim of completeness."""
        e = self.explanation
        if e.delta is None:
            return None
        change = np.abs(np.float64(e.score) - e.baseline_score)
        return float(np.max(np.abs(e.delta) / np.maximum(change, np.finfo(np.float32).tiny)))


@dataclass
class Results:
    """Everything that the pages and tables show.

    ``found`` is by (dtype, framework, case label); ``unsuited`` names cases that do not apply to these models with the
    reason, ``failed`` those that broke.
    """

    digits: Digits
    training: Digits
    predicted: np.ndarray
    accuracy: float
    tested: int
    frameworks: tuple[Framework, ...]
    absent: tuple[Framework, ...]
    cases: tuple[Case, ...]
    seconds_training: float
    trained_on: Framework
    weights: Weights
    logits: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    found: dict[tuple[str, str, str], Found] = field(default_factory=dict)
    unsuited: dict[str, str] = field(default_factory=dict)
    failed: dict[tuple[str, str, str], str] = field(default_factory=dict)
    contrast: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Those that were run."""
        return tuple(d for d in DTYPES if any(key[0] == d for key in self.logits))

    @property
    def shown(self) -> tuple[Case, ...]:
        """Cases that every framework explained in float32, activations not among them: they speak for no class."""
        return tuple(c for c in self.explained if c.name != "activations")

    @property
    def explained(self) -> tuple[Case, ...]:
        """Cases that every framework has in float32."""
        return tuple(c for c in self.cases if all(("float32", f.name, c.label) in self.found for f in self.frameworks))

    @property
    def mistaken(self) -> np.ndarray:
        """Positions of the digits that the model mistakes."""
        return np.flatnonzero(self.predicted != self.digits.labels)


def gather(
    frameworks: Iterable[Framework], cases: tuple[Case, ...], *, count: int, dtypes: Iterable[str], say: Say
) -> Results:
    """Train once, build the network in every framework, and explain a page of digits with every case on each."""
    wanted = tuple(frameworks)
    present = [framework for framework in wanted if framework.installed]
    absent = [framework for framework in wanted if not framework.installed]
    for framework in absent:
        say(f"{framework.title} is not installed ({', '.join(framework.requires)}): left out.")
    if not present:
        raise ParameterError("whence demo", received="no framework installed", valid="pip install 'whence[torch]'")
    training, test = load()
    first = present[0]
    with first.scope("float32"):
        began = perf_counter()
        weights = first.train(initial(), training.images, training.labels)
        spent = perf_counter() - began
        logits = predict(first, first.build(weights, "float32"), test.images)
    predicted = logits.argmax(axis=1)
    rows = page(test.labels, predicted, count)
    results = Results(
        digits=test.take(rows), training=training.take(np.arange(BACKGROUND)), predicted=predicted[rows],
        accuracy=float((predicted == test.labels).mean()), tested=len(test), frameworks=tuple(present),
        absent=tuple(absent), cases=cases, seconds_training=spent, trained_on=first, weights=weights,
    )  # fmt: skip
    say(f"Trained on {len(training)} digits with {first.title} in {spent:.1f} s; "
        f"{results.accuracy:.1%} of {len(test)} others right.")  # fmt: skip
    for framework in present:
        for dtype in dtypes:
            # float64 is there for comparisons
            if dtype == "float32" or (framework.float64 and len(present) > 1):
                _explain_all(results, framework, dtype)
        say(f"{framework.title}: {len(rows)} digits × {len(cases)} methods and settings in "
            f"{results.seconds[framework.name]:.0f} s.")  # fmt: skip
    return results


def predict(framework: Framework, model: Any, images: np.ndarray) -> np.ndarray:
    """Logits ``[N, 10]`` of images ``[N, C, H, W]``."""
    wrapped = whence.wrap(model)
    with wrapped.hold():
        return np.asarray(wrapped.ops.to_numpy(wrapped.run(wrapped.place(framework.images(images)))[0]))


def _values(framework: Framework, found: Explanation) -> np.ndarray:
    """Attributions as ``[B, C, H, W]``."""
    values = found.attributions
    if found.view == "activations":
        (values,) = values.values()
    return values[:, None] if found.view == "map" else framework.channels_first(values)


def _explain_all(results: Results, framework: Framework, dtype: str) -> None:
    """Fill in ``results`` for one framework."""
    began = perf_counter()
    images = framework.images(results.digits.images.astype(dtype))
    training = framework.images(results.training.images.astype(dtype))
    with framework.scope(dtype):
        model = framework.build(results.weights, dtype)
        results.logits[dtype, framework.name] = predict(framework, model, results.digits.images.astype(dtype))
        for case in results.cases:
            key = (dtype, framework.name, case.label)
            try:
                found = case.method(training).explain(model, images, results.predicted)
            except (CapabilityError, LayerError, ParameterError, ShapeError) as error:
                results.unsuited[case.label] = str(error)
                results.failed[key] = str(error)
            except Exception as error:  # one method that breaks costs its line of the table, not the page
                results.failed[key] = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            else:
                found = found.numpy()
                results.found[key] = Found(found, _values(framework, found))
        if dtype == "float32" and framework is results.frameworks[0] and len(results.mistaken):
            for name, target in (("predicted", results.predicted), ("true", results.digits.labels)):
                rows = results.mistaken
                found = whence.IntegratedGradients(tol=0.01).explain(model, images[rows], target[rows]).numpy()
                results.contrast[name] = framework.channels_first(found.attributions)
    results.seconds[framework.name] = results.seconds.get(framework.name, 0.0) + perf_counter() - began
