"""Which modules do not call their layers from Python."""

from __future__ import annotations

import torch


def uncompiled(module: torch.nn.Module) -> torch.nn.Module:
    """The module that ``torch.compile`` wrapped: compiled code does not call the layers from Python."""
    original = getattr(module, "_orig_mod", None)
    return original if isinstance(original, torch.nn.Module) else module


def is_compiled_in_place(module: torch.nn.Module) -> bool:
    """Whether a module's own calls are compiled, by ``module.compile()`` or ``torch.jit``."""
    return getattr(module, "_compiled_call_impl", None) is not None or isinstance(module, torch.jit.ScriptModule)
