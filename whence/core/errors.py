"""Every error says three things: what was asked, what was received, what would be valid."""

from __future__ import annotations

import sys
import warnings
from functools import partial
from traceback import walk_stack
from typing import Any


class WhenceError(Exception):
    """Base of all errors of this library.

    ``asked`` names the request in a few words, ``received`` shows the offending value and ``valid``
    says what would have worked.
    """

    def __init__(self, asked: str, *, received: object, valid: str) -> None:
        self.asked, self.received, self.valid = asked, received, valid
        super().__init__(f"{asked}. Received: {received}. Valid: {valid}.")

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), received=self.received, valid=self.valid), (self.asked,)


class ParameterError(WhenceError, ValueError):
    """A hyper-parameter of a method, or an option of a call, is out of its range."""


class TargetError(WhenceError, IndexError):
    """The target is not one of the model's outputs."""


class LayerError(WhenceError, LookupError):
    """A layer name does not exist, is ambiguous, or was not reached."""


class ShapeError(WhenceError, ValueError):
    """A tensor, or a structure of tensors, has the wrong shape."""


class DTypeError(WhenceError, TypeError):
    """A tensor has a type of number that the request cannot be answered for."""


class BaselineError(WhenceError, ValueError):
    """The baseline does not fit the inputs."""


class CapabilityError(WhenceError, TypeError):
    """The model or its framework cannot do what the method needs."""


class CoverageError(WhenceError, RuntimeError):
    """A backward rule was asked for and operations escaped it."""


class CompletenessError(WhenceError, ArithmeticError):
    """The attributions do not add up to the change of the score."""


class NonFiniteError(WhenceError, ArithmeticError):
    """NaN or infinity in inputs, outputs or gradients."""


class BackendError(WhenceError, TypeError):
    """No framework fits the model or tensor, or two frameworks were mixed."""


class WhenceWarning(UserWarning):
    """Base of all warnings of this library."""


class TrainingModeWarning(WhenceWarning):
    """A model in training mode was run in inference mode for the call."""


class BatchMixingWarning(WhenceWarning):
    """The model's output for one sample depends on the other samples of the batch."""


class ZeroAttributionWarning(WhenceWarning):
    """Every attribution is exactly zero."""


def warn_user(message: str, category: type[WhenceWarning]) -> None:
    """Warn at the line of the user's code that called this library, however deep inside it is found out."""
    ours = [i for i, (frame, _) in enumerate(walk_stack(sys._getframe())) if _is_ours(frame.f_globals)]
    warnings.warn(message, category, stacklevel=ours[-1] + 2)


def _is_ours(variables: dict[str, Any]) -> bool:
    return str(variables.get("__name__")).partition(".")[0] == __name__.partition(".")[0]
