"""Maps recorded while a small network learns, in a plain loop and by a trainer's hooks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import whence
from whence.errors import ParameterError


def made() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(16, 1, 8, 8, generator=generator)
    x[::2, :, 4:] += 1
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(144, 2))
    return model, x, torch.tensor([0, 1] * 8)


def recorder(folder: Path, x: torch.Tensor, **options: object) -> whence.Recorder:
    return whence.Recorder(whence.GradCAM(layer="1"), x[:2], [0, 1], folder=folder, **options)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::whence.errors.TrainingModeWarning")
def test_a_plain_loop_records_a_network_that_learns(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model, x, y = made()
    kept = recorder(tmp_path / "maps", x, every=10, tensorboard=tmp_path / "events")
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(1, 21):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        found = kept.record(model, step)
        assert (found is None) == (step % 10 != 0)
        assert model.training and all(p.requires_grad for p in model.parameters())
    again = kept.load()
    assert list(again) == [10, 20] and again[20].attributions.shape == (2, 8, 8)
    assert again[20].score.mean() > again[10].score.mean(), "the classes are being learnt"
    assert not np.array_equal(again[20].attributions, again[10].attributions)
    assert {p.name for p in (tmp_path / "maps").glob("*.png")} == {"step_00000010.png", "step_00000020.png"}
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [e.step for e in events.Images("whence/grad_cam")] == [10, 20]
    assert np.allclose([e.value for e in events.Scalars("whence/score/1")], [again[s].score[1] for s in (10, 20)])


@pytest.mark.filterwarnings("ignore::whence.errors.TrainingModeWarning")
def test_a_trainer_calls_its_hooks(tmp_path: Path) -> None:
    model, x, _ = made()
    callback = recorder(tmp_path, x, pictures=False)
    trainer = SimpleNamespace(current_epoch=0, callbacks=[callback])
    for hook in ("setup", "on_fit_start", "on_train_batch_end", "on_train_epoch_end", "on_fit_end", "teardown"):
        getattr(callback, hook)(trainer, model)
    assert list(callback.load()) == [1] and not list(tmp_path.glob("*.png"))


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="every"):
        recorder(tmp_path, made()[1], every=0)
    with pytest.raises(ParameterError, match="method"):
        whence.Recorder("grad_cam", made()[1], folder=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        _ = recorder(tmp_path, made()[1]).no_such_thing
