"""What an explanation is: raw attributions and everything needed to trust, repeat and keep them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from whence.core.baselines import host
from whence.core.conservation import Conservation, Conserve
from whence.core.errors import CompletenessError, DTypeError, ParameterError
from whence.core.feature_values import FeatureValues, Ranked
from whence.core.tree import Structure, flatten

FORMAT = 1


@dataclass(frozen=True)
class Provenance:
    """How an explanation came about.

    ``forward`` and ``backward`` count model rows evaluated; ``batch_size`` is the number of rows in one call;
    ``precision`` says how the device multiplies float32 matrices; ``coverage`` what backward rules met; ``notes``
    holds what the method adds, such as the steps spent by an adaptive rule.
    """

    versions: Mapping[str, str]
    backend: str
    model: str
    device: str
    dtype: str
    precision: str
    layout: str | None
    seed: int | None
    batch_size: int
    forward: int
    backward: int
    seconds: float
    coverage: Mapping[str, Any] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The answer of a method; native tensors of the inputs' framework, or NumPy where NumPy came in.

    ``attributions``: in the inputs' structure, ``[B, ...]`` each (the layer's activation where a layer was named;
    None for inputs of whole numbers, which are held fixed). ``target[B, n]``: the explained index per sample, None for
    a callable. ``score[B]`` and ``baseline_score[B]``: the explained number at the input and at the baseline.
    Activations explain no score: both are None.
    ``delta[B]``: sum of attributions minus the change of the score, None where the method claims no completeness; a
    feature of several numbers counts once.
    ``std_error``: of a sampling method, like ``attributions``. ``features``: the same per feature, with names, from
    methods that take features away. Raw numbers: no absolute value, no normalisation.
    ``view`` says what the values are: ``"attributions"``; ``"map"``, one number per place of an image ``[B, ...]``;
    ``"activations"``, a dict of what layers give. ``conserve`` is behind ``conservation()`` and holds the model and the
    inputs; it is neither saved nor pickled.
    """

    attributions: Any
    target: np.ndarray | None
    score: Any
    baseline_score: Any
    delta: Any
    std_error: Any
    method: str
    params: Mapping[str, Any]
    provenance: Provenance
    inputs: Any = field(default=None, repr=False)
    features: FeatureValues | None = None
    view: str = "attributions"
    conserve: Conserve | None = None

    def __repr__(self) -> str:
        leaves, _ = flatten(self.attributions)
        shapes = ", ".join("held fixed" if leaf is None else str(tuple(leaf.shape)) for leaf in leaves)
        source = self.provenance
        return (
            f"<Explanation by {self.method} of a {source.model}: {shapes} {source.dtype} on {source.device}, "
            f"{source.backward} gradient and {source.forward} forward rows, {source.seconds:.3g} s>"
        )

    def numpy(self) -> Self:
        """The same explanation with NumPy arrays on the host."""

        def convert(value: Any) -> Any:
            if value is None:
                return None
            leaves, structure = flatten(value)
            return structure.unflatten([None if leaf is None else host(leaf) for leaf in leaves])

        names = ("attributions", "score", "baseline_score", "delta", "std_error", "inputs")
        return replace(self, **{name: convert(getattr(self, name)) for name in names})

    def check(self, rtol: float = 0.05) -> Self:
        """Raise CompletenessError where |delta| exceeds ``rtol`` times the change of the score; returns itself."""
        if self.delta is None:
            raise ParameterError(
                f"check of {self.method}",
                received="a method that claims no completeness",
                valid="methods with a baseline, such as integrated_gradients",
            )
        delta, score, base = (host(v).astype(np.float64) for v in (self.delta, self.score, self.baseline_score))
        allowed = rtol * np.abs(score - base)
        bad = np.flatnonzero(~(np.abs(delta) <= allowed))
        if len(bad):
            worst = bad[np.argmax(np.abs(delta[bad]) - allowed[bad])]
            raise CompletenessError(
                f"{self.method} within {rtol:g} of completeness",
                received=f"sample {worst}: attributions sum to {score[worst] - base[worst] + delta[worst]:.6g}, "
                         f"the score changes by {score[worst] - base[worst]:.6g}",
                valid="a larger n_steps or tol=..., or a larger rtol",
            )  # fmt: skip
        return self

    def conservation(self, layers: Sequence[str] | None = None, *, batch_size: int | None = None) -> Conservation:
        """Where relevance is lost: its sum at each of ``layers``, at all named ones if None, per sample.

        For methods that hand it back by rules, LRP and DeepLIFT. The model is run again, on the inputs that were
        explained. Left out are layers that no relevance comes to: those beside the way to the score, and those that are
        one with what follows, as a convolution with the batch normalisation that is merged into it. Raises LayerError
        for names that do not exist, ParameterError for other methods, for an explanation that was read from a file,
        and where model or inputs have changed since.
        """
        if isinstance(layers, str):
            raise ParameterError("layers", received=repr(layers), valid="a sequence of names of layers")
        if self.conserve is None:
            raise ParameterError(
                f"conservation of {self.method}",
                received="an explanation without the model, from a file or from a method without relevance at layers",
                valid="an explanation by deep_lift or lrp, as explain gave it",
            )
        found = self.conserve(None if layers is None else tuple(layers), batch_size)
        score = host(self.score).astype(np.float64)
        explained = score if self.baseline_score is None else score - host(self.baseline_score)
        changed = np.flatnonzero(~np.isclose(found.score, explained, rtol=1e-2, atol=1e-2 * np.abs(score)))
        if len(changed):
            raise ParameterError(
                f"conservation of {self.method}",
                received=f"a model or inputs that have changed since: sample {changed[0]} was explained for "
                f"{explained[changed[0]]:.6g} and gives {found.score[changed[0]]:.6g}",
                valid="the model and the inputs as they were explained",
            )
        return found

    def __getstate__(self) -> dict[str, Any]:
        # a model is not for every pickle
        return {**self.__dict__, "conserve": None}

    def top(self, n: int = 5, *, sign: int = 0) -> list[list[Ranked]]:
        """The ``n`` strongest features of each sample as (name, value, number); see ``FeatureValues.top``."""
        if self.features is None:
            raise ParameterError(f"features of {self.method}", received="a method without features",
                                 valid="a method with a feature_mask, such as feature_ablation")  # fmt: skip
        return self.features.top(n, sign=sign)

    def plot(self, **options: Any) -> Any:
        """Heat maps of image attributions; see ``whence.plots.plot``. Returns a matplotlib figure."""
        from importlib import import_module

        return import_module("whence.plots").plot(self, **options)

    def save(self, path: str | Path) -> Path:
        """Write an ``.npz`` file: one array per tensor and a JSON header named ``header``; read without pickle."""
        path = Path(path)
        plain = self.numpy()
        arrays: dict[str, np.ndarray] = {}
        layout: dict[str, Any] = {}
        for name in ("attributions", "target", "score", "baseline_score", "delta", "std_error", "inputs"):
            value = getattr(plain, name)
            if value is None:
                continue
            leaves, structure = flatten(value)
            layout[name] = {
                "kind": next(k for k in (dict, tuple, list, object) if issubclass(structure.kind, k)).__name__,
                "keys": list(structure.keys),
                "held": [i for i, leaf in enumerate(leaves) if leaf is None],
            }
            arrays |= {f"{name}/{i}": leaf for i, leaf in enumerate(leaves) if leaf is not None}
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise DTypeError(f"saving {name}", received="an array of Python objects", valid="numbers or strings")
        header = {
            "format": FORMAT,
            "method": self.method,
            "view": self.view,
            "params": _plain(self.params),
            "provenance": _plain({f.name: getattr(self.provenance, f.name) for f in fields(Provenance)}),
            "structure": layout,
        }
        if self.features is not None:
            header["features"] = {"labels": self.features.labels, "masks": len(self.features.masks)}
            arrays |= {f"features/mask/{i}": mask for i, mask in enumerate(self.features.masks)}
            found = {name: getattr(self.features, name) for name in _FEATURE_ARRAYS}
            arrays |= {f"features/{name}": array for name, array in found.items() if array is not None}
        with path.open("wb") as file:
            np.savez_compressed(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        return path


def load(path: str | Path) -> Explanation:
    """Read what ``Explanation.save`` wrote, with NumPy arrays; files are read without pickle."""
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(bytes(file["header"]).decode())
        if header.get("format") != FORMAT:
            raise ParameterError(
                f"explanation file {path}", received=f"format {header.get('format')}", valid=f"format {FORMAT}"
            )
        values: dict[str, Any] = {}
        for name, shape in header["structure"].items():
            kind = {"dict": dict, "tuple": tuple, "list": list, "object": object}[shape["kind"]]
            count = max(len(shape["keys"]), 1)
            leaves = [None if i in shape["held"] else file[f"{name}/{i}"] for i in range(count)]
            values[name] = Structure(kind, tuple(shape["keys"])).unflatten(leaves)
        features = _features(file, header.get("features"))
    known = {f.name for f in fields(Provenance)}
    provenance = Provenance(**{k: v for k, v in header["provenance"].items() if k in known})
    blank = dict.fromkeys(("attributions", "target", "score", "baseline_score", "delta", "std_error", "inputs"))
    return Explanation(**{**blank, **values}, method=header["method"], params=header["params"], provenance=provenance,
                       features=features, view=header.get("view", "attributions"))  # fmt: skip


_FEATURE_ARRAYS = ("values", "std_error", "interactions")


def _features(file: Any, header: Mapping[str, Any] | None) -> FeatureValues | None:
    if header is None:
        return None
    return FeatureValues(
        labels=tuple(map(tuple, header["labels"])),
        masks=tuple(file[f"features/mask/{i}"] for i in range(header["masks"])),
        **{name: file[f"features/{name}"] for name in _FEATURE_ARRAYS if f"features/{name}" in file.files},
    )


def _plain(value: Any) -> Any:
    """Anything as what JSON can hold; objects by their repr, arrays by their values."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if hasattr(value, "__array__") or hasattr(value, "detach"):
        return host(value).tolist()
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
