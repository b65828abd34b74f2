"""The errors and warnings users may meet; each error says what was asked, what was received and what is valid."""

from whence.core.errors import (
    BackendError,
    BaselineError,
    BatchMixingWarning,
    CapabilityError,
    CompletenessError,
    CoverageError,
    DTypeError,
    LayerError,
    NonFiniteError,
    ParameterError,
    ShapeError,
    TargetError,
    TrainingModeWarning,
    WhenceError,
    WhenceWarning,
    ZeroAttributionWarning,
)

__all__ = [
    "BackendError",
    "BaselineError",
    "BatchMixingWarning",
    "CapabilityError",
    "CompletenessError",
    "CoverageError",
    "DTypeError",
    "LayerError",
    "NonFiniteError",
    "ParameterError",
    "ShapeError",
    "TargetError",
    "TrainingModeWarning",
    "WhenceError",
    "WhenceWarning",
    "ZeroAttributionWarning",
]
