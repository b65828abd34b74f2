"""Maps of the same samples again and again while a model learns, to files and to TensorBoard."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from socket import gethostname
from time import time
from typing import Any

import numpy as np

from whence.core.errors import CapabilityError, ParameterError
from whence.core.explanation import Explanation
from whence.core.method import Method
from whence.core.validation import positive_int


class Recorder:
    """Explains fixed samples with ``method`` whenever it is told of a step, and keeps what comes out.

    ``inputs`` and ``target``: as of ``Method.explain``, the same at every step. ``folder``: where
    ``step_00000100.npz``, an explanation to ``whence.load``, and its picture ``step_00000100.png`` are written.
    ``every``: only at steps that are multiples of it. ``pictures``: whether pictures are drawn, with ``layout`` where
    the model does not know it. ``tensorboard``: a folder for TensorBoard's event files, which gets the picture and each
    sample's score, through the ``tensorboard`` package.

    In a plain loop call ``record(model, step)``. ``keras()`` is a callback for ``fit``, and the recorder itself one for
    trainers that call ``on_train_epoch_end(trainer, module)``, as Lightning's do. The model is explained in inference
    mode and left as it was.
    """

    def __init__(
        self, method: Method, inputs: Any, target: Any = None, *, folder: str | Path, every: int = 1,
        pictures: bool = True, layout: str | None = None, tensorboard: str | Path | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(method, Method):
            raise ParameterError("method", received=repr(method), valid="a method such as whence.GradCAM()")
        positive_int("every", every)
        self.method, self.inputs, self.target, self.every = method, inputs, target, every
        self.folder, self.pictures, self.layout = Path(folder), pictures, layout
        self.folder.mkdir(parents=True, exist_ok=True)
        self._events = None if tensorboard is None else _Events(Path(tensorboard))

    def record(self, model: Any, step: int) -> Explanation | None:
        """Explain the samples with the model as it is now; None at steps in between."""
        if step % self.every:
            return None
        explanation = self.method.explain(model, self.inputs, self.target)
        path = self.folder / f"step_{step:08d}.npz"
        explanation.save(path)
        if self.pictures:
            figure = explanation.plot(layout=self.layout)
            picture = path.with_suffix(".png")
            figure.savefig(picture)
            if self._events is not None:
                size = figure.canvas.get_width_height()
                self._events.picture(f"whence/{explanation.method}", picture.read_bytes(), size, step)
        if self._events is not None and explanation.score is not None:
            for sample, score in enumerate(np.asarray(explanation.numpy().score)):
                self._events.number(f"whence/score/{sample}", float(score), step)
        return explanation

    def load(self) -> dict[int, Explanation]:
        """Everything in the folder, by step."""
        from whence.core.explanation import load

        return {int(path.stem.removeprefix("step_")): load(path) for path in sorted(self.folder.glob("step_*.npz"))}

    # -- trainers ----------------------------------------------------------------------------------------------
    def keras(self) -> Any:
        """A ``keras.callbacks.Callback`` that records at the end of each epoch, steps being epochs from 1."""
        return import_module("whence.backends.keras_callback").callback(self.record)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Called by a trainer: records its module, steps being epochs from 1."""
        self.record(module, int(trainer.current_epoch) + 1)

    state_key = "whence.Recorder"
    """What Lightning asks callbacks for, like the next two."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing has to be kept in a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was kept."""

    def __getattr__(self, name: str) -> Any:
        # a trainer calls hooks that nothing is to be done at
        if name.startswith(("on_", "setup", "teardown")):
            return _nothing
        raise AttributeError(f"'Recorder' object has no attribute {name!r}")


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


class _Events:
    """A TensorBoard event file, written by TensorBoard's own record writer, which imports no framework."""

    def __init__(self, folder: Path) -> None:
        try:
            writer = import_module("tensorboard.summary.writer.record_writer")
        except ImportError as error:
            raise CapabilityError(
                "event files for TensorBoard",
                received="the package tensorboard is not installed",
                valid="pip install tensorboard, or tensorboard=None",
            ) from error
        self._summary = import_module("tensorboard.compat.proto.summary_pb2").Summary
        self._event = import_module("tensorboard.compat.proto.event_pb2").Event
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"events.out.tfevents.{time():.6f}.{gethostname()}"
        self._writer = writer.RecordWriter(path.open("wb"))
        self._write(file_version="brain.Event:2")

    def picture(self, tag: str, png: bytes, size: tuple[int, int], step: int) -> None:
        """An encoded picture of (width, height) pixels."""
        image = self._summary.Image(encoded_image_string=png, width=size[0], height=size[1], colorspace=4)
        self._write(step=step, summary=self._summary(value=[self._summary.Value(tag=tag, image=image)]))

    def number(self, tag: str, value: float, step: int) -> None:
        """A number of one step."""
        self._write(step=step, summary=self._summary(value=[self._summary.Value(tag=tag, simple_value=value)]))

    def _write(self, **event: Any) -> None:
        self._writer.write(self._event(wall_time=time(), **event).SerializeToString())
        self._writer.flush()
