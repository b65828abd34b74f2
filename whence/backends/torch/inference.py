"""The state that a module is in while it is explained: inference mode, frozen parameters; then as it was."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from whence.backends.torch.compiled import uncompiled
from whence.backends.torch.memory_format import Copies, gains_by_copies
from whence.core.errors import TrainingModeWarning, warn_user
from whence.core.ops import Tensor


class Held:
    """What was changed on one module, how many explanations rely on it, and what they know of it."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        self.users = 0
        self.modules = modules
        self.training: list[torch.nn.Module] = []
        self.trainable: list[Tensor] = []
        self.convolves = any(isinstance(m, torch.nn.Conv2d) for m in modules)
        self._passes = 0
        self._copies: Copies | None = None

    def weights_of_next_pass(self) -> Copies | None:
        """Weights in another memory format, where that is worth it: not before the fourth pass."""
        self._passes += 1
        if self._passes == 4 and self.convolves and gains_by_copies(self.modules):
            self._copies = {}
        return self._copies


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
            state = Held(list(module.modules()))
            state.training = [m for m in state.modules if m.training]
            if warn and any(_behaves_otherwise(m) for m in state.training):
                warn_user(
                    f"{type(module).__name__} is in training mode; it is run in inference mode for this call "
                    "and put back afterwards.",
                    TrainingModeWarning,
                )
            for m in state.training:
                m.training = False
            if uncompiled(module) is module:
                own = parameters_of(state.modules) if parameters is None else parameters
                state.trainable = [p for p in own if p.requires_grad]
                for p in state.trainable:
                    p.requires_grad_(False)
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


def parameters_of(modules: Iterable[torch.nn.Module]) -> list[Tensor]:
    """The modules' own parameters: many times faster than ``parameters``, which makes up their names."""
    return [p for m in modules for p in m._parameters.values() if p is not None]


_TRAINING_MATTERS = (torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._NormBase)


def _behaves_otherwise(module: torch.nn.Module) -> bool:
    """Whether a module in training mode computes something else: a fresh model of plain layers needs no warning."""
    ours = type(module).__module__.startswith("torch.nn.")
    return isinstance(module, _TRAINING_MATTERS) or bool(getattr(module, "dropout", 0)) or not ours
