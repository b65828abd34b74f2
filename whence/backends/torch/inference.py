"""The state that a module is in while it is explained: inference mode, frozen parameters; then as it was."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from whence.backends.torch.compiled import uncompiled
from whence.backends.torch.memory_format import Copies, gains_by_copies
from whence.core.errors import TrainingModeWarning
from whence.core.ops import Tensor


class Held:
    """What was changed on one module, how many explanations rely on it, and what they know of it."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        self.users = 0
        self.training: list[torch.nn.Module] = []
        self.trainable: list[torch.nn.Parameter] = []
        self.convolves = any(isinstance(m, torch.nn.Conv2d) for m in modules)
        self.copies: Copies | None = None
        """Weights in another memory format, where that is worth it."""
        self._passes = 0

    def copies_for_next_pass(self) -> Copies | None:
        """The copies, which are made by the first pass that is given them: not where there are only one or two."""
        self._passes += 1
        return self.copies if self._passes > 2 else None


_held: weakref.WeakKeyDictionary[torch.nn.Module, Held] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def held(module: torch.nn.Module) -> Held:
    """What is known of a module while it is explained; outside an explanation, of the module as it is."""
    return _held.get(module) or Held(list(module.modules()))


@contextmanager
def inference(
    module: torch.nn.Module, *, warn: bool = True, parameters: Sequence[Tensor] | None = None
) -> Iterator[None]:  # fmt: skip
    """Inference mode and frozen parameters while any thread explains through the module; then as it was.

    ``parameters`` are the module's where it does not list them all.

    Compiled modules keep their flags unless they are training: a changed flag would compile them again.
    """
    with _lock:
        state = _held.get(module)
        if state is None:
            inside = list(module.modules())
            state = Held(inside)
            state.training = [m for m in inside if m.training]
            if warn and any(_behaves_otherwise(m) for m in state.training):
                warnings.warn(
                    f"{type(module).__name__} is in training mode; it is run in inference mode for this call "
                    "and put back afterwards.",
                    TrainingModeWarning,
                    stacklevel=6,
                )
            for m in state.training:
                m.training = False
            if uncompiled(module) is module:
                own = [p for m in inside for p in m.parameters(recurse=False)] if parameters is None else parameters
                state.trainable = [p for p in own if p.requires_grad]
                for p in state.trainable:
                    p.requires_grad_(False)
            state.copies = {} if state.convolves and gains_by_copies(inside) else None
            _held[module] = state
        state.users += 1
    try:
        yield
    finally:
        with _lock:
            state.users -= 1
            if state.users == 0:
                for m in state.training:
                    m.training = True
                for p in state.trainable:
                    p.requires_grad_(True)
                del _held[module]


_TRAINING_MATTERS = (torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._NormBase)


def _behaves_otherwise(module: torch.nn.Module) -> bool:
    """Whether a module in training mode computes something else: a fresh model of plain layers needs no warning."""
    ours = type(module).__module__.startswith("torch.nn.")
    return isinstance(module, _TRAINING_MATTERS) or bool(getattr(module, "dropout", 0)) or not ours
