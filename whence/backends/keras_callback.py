"""A callback of Keras' ``fit``, on any of its backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def callback(record: Callable[[Any, int], Any]) -> Any:
    """A callback that calls ``record(model, epoch)`` at the end of each epoch, epochs counted from 1."""
    from keras.callbacks import Callback

    class Recording(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            record(self.model, epoch + 1)

    return Recording()
