"""What is installed, and which accelerators there are; frameworks are imported only where they are asked themselves."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

FRAMEWORKS = ("torch", "jax", "flax", "tensorflow", "keras")
LIBRARIES = ("numpy", "einops", "scikit-learn", "scikit-image", "matplotlib")


def versions() -> dict[str, str | None]:
    """Versions by package, read from their metadata; None for what is not installed."""
    packages = {name: _version(name) for name in ("whence", *LIBRARIES, *FRAMEWORKS)}
    return {"python": platform.python_version(), **packages}


def _version(name: str) -> str | None:
    names = (name, f"{name}-cpu") if name == "tensorflow" else (name,)
    for package in names:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    if name == "whence":
        import whence

        return whence.__version__
    return None


def gpus() -> tuple[str, ...]:
    """NVIDIA GPUs, by asking their driver's tool, where there is one; fast, and without any framework."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def devices() -> dict[str, str]:
    """What each installed framework computes on, asked of the framework itself: seconds each."""
    ask: dict[str, Callable[[], list[str]]] = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax}
    found = {}
    for name, devices_of in ask.items():
        if find_spec(name) is not None:
            try:
                found[name] = ", ".join(devices_of())
            except Exception as error:  # a broken installation is what this command is there to show
                found[name] = f"{type(error).__name__}: {error}"
    return found


def _torch() -> list[str]:
    import torch

    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return [*names, "mps"] if torch.backends.mps.is_available() else names


def _tensorflow() -> list[str]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    return [device.name.removeprefix("/physical_device:").lower() for device in tf.config.list_physical_devices()]


def _jax() -> list[str]:
    import jax

    return [str(device) for device in jax.devices()]
