"""Explanations: what they say, and that they survive the disk without pickle."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

import whence
from tests.core.methods import Ablation
from whence.core.explanation import Explanation, Provenance
from whence.errors import CompletenessError, ParameterError

X = np.random.default_rng(0).standard_normal((3, 4))
IDS = np.arange(12).reshape(3, 4)
Pair = namedtuple("Pair", "first second")


def model(first: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
    return np.tanh(first[:, :2]) * (1 if second is None else 1 + second[:, :2])


def made(**changes) -> Explanation:
    return dataclasses.replace(Ablation().explain(model, X, 1), **changes)


@pytest.mark.parametrize("inputs", [X, (X, IDS), [X, IDS], {"first": X, "second": IDS}, {"second": IDS, "first": X},
                                    Pair(X, IDS), (X, X)])  # fmt: skip
@pytest.mark.parametrize("name", ["e.npz", "explanation"])
def test_save_and_load(inputs, name: str, tmp_path: Path) -> None:
    e = Ablation().explain(model, inputs, [0, 1, 0])
    path = e.save(tmp_path / name)
    assert path == tmp_path / name and path.exists()
    again = whence.load(path)
    kind = tuple if isinstance(inputs, tuple) else type(inputs)
    assert type(again.attributions) is type(again.inputs) is kind
    for part in ("attributions", "inputs"):
        old, new = getattr(e, part), getattr(again, part)
        if isinstance(inputs, np.ndarray):
            old, new = {"input": old}, {"input": new}
        elif not isinstance(inputs, dict):
            old, new = dict(enumerate(old)), dict(enumerate(new))
        assert list(old) == list(new)
        for key, value in old.items():
            if value is None:
                assert new[key] is None
            else:
                assert np.array_equal(value, new[key]) and value.dtype == new[key].dtype
    assert np.array_equal(again.score, e.score) and np.array_equal(again.target, e.target)
    assert again.delta is again.std_error is again.baseline_score is None
    assert again.method == e.method and again.params == dict(e.params)
    assert dataclasses.asdict(again.provenance) == dataclasses.asdict(e.provenance)


def test_whole_numbers_are_held_fixed() -> None:
    e = Ablation().explain(model, {"first": X, "second": IDS}, 0)
    assert e.attributions["second"] is None and "held fixed" in repr(e)


def test_odd_parameters_are_kept_as_text(tmp_path: Path) -> None:
    notes = {"array": np.arange(3), "tuple": (1, 2.5), "object": Ablation(), "number": np.float32(0.5)}
    e = made(params={"baseline": np.ones(2), "fn": Ablation()}, target=None)
    e = dataclasses.replace(e, provenance=dataclasses.replace(e.provenance, notes=notes))
    again = whence.load(e.save(tmp_path / "e.npz"))
    assert again.params == {"baseline": [1.0, 1.0], "fn": "Ablation(repeats=1)"} and again.target is None
    found = again.provenance.notes
    assert found == {"array": [0, 1, 2], "tuple": [1, 2.5], "object": "Ablation(repeats=1)", "number": 0.5}


def test_files_hold_no_pickle(tmp_path: Path) -> None:
    path = made().save(tmp_path / "e.npz")
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            assert b"|O" not in archive.read(member)[:200], f"{member} holds objects"
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(bytes(file["header"]).decode())
    assert header["method"] == "plain_ablation" and header["format"] == 1


def test_pickled_files_are_refused(tmp_path: Path) -> None:
    header = np.array([{"format": 1}], dtype=object)
    np.savez(tmp_path / "bad.npz", header=header)
    with pytest.raises(ValueError, match="pickle"):
        whence.load(tmp_path / "bad.npz")


def test_objects_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError), match=r"(?i)pickle|object"):
        made(attributions=np.array([object()])).save(tmp_path / "e.npz")


def test_other_formats_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "new.npz", header=np.frombuffer(json.dumps({"format": 99}).encode(), np.uint8))
    with pytest.raises(ParameterError, match="format 99"):
        whence.load(tmp_path / "new.npz")


def test_files_of_newer_releases_with_more_provenance_load(tmp_path: Path) -> None:
    path = made().save(tmp_path / "e.npz")
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(bytes(arrays["header"]).decode())
    header["provenance"]["added_later"] = 1
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)
    assert isinstance(whence.load(path).provenance, Provenance)


def test_check_of_completeness() -> None:
    score, base = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    fine = made(score=score, baseline_score=base, delta=np.array([0.01, -0.02, 0.0]))
    assert fine.check(0.02) is fine
    with pytest.raises(CompletenessError, match=r"sample 1: attributions sum to 1\.5, the score changes by 2"):
        dataclasses.replace(fine, delta=np.array([0.06, -0.5, 0.1])).check()
    with pytest.raises(ParameterError, match="claims no completeness"):
        made().check()
    for bad in (np.nan, np.inf):
        with pytest.raises(CompletenessError):
            dataclasses.replace(fine, delta=np.array([0.0, bad, 0.0])).check()


def test_frozen_and_readable() -> None:
    e = made()
    with pytest.raises(dataclasses.FrozenInstanceError):
        e.attributions = None
    assert "plain_ablation" in repr(e) and "(3, 4) float64 on cpu" in repr(e)
    assert "0 gradient" in repr(e)


def test_numpy_is_the_same_on_arrays() -> None:
    e = made()
    assert e.numpy().attributions is e.attributions
