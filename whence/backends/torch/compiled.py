"""Which modules do not call their layers from Python."""

from __future__ import annotations

import sys

import torch


def uncompiled(module: torch.nn.Module) -> torch.nn.Module:
    """The module that ``torch.compile`` wrapped: compiled code does not call the layers from Python."""
    original = getattr(module, "_orig_mod", None)
    return original if isinstance(original, torch.nn.Module) else module


def is_compiled_in_place(module: torch.nn.Module) -> bool:
    """Whether a module's own calls are compiled, by ``module.compile()`` or ``torch.jit``."""
    return getattr(module, "_compiled_call_impl", None) is not None or isinstance(module, torch.jit.ScriptModule)


def compiles() -> bool:
    """Whether ``torch.compile`` has compiled anything in this process so far."""
    counters = getattr(sys.modules.get("torch._dynamo.utils"), "counters", {})
    return bool(counters.get("frames"))
