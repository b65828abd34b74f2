"""``python -m benchmarks`` measures everything, ``python -m benchmarks memory`` or ``speed torch`` a part of it.

Each job runs in a process of its own, with one thread on one core, and writes ``benchmarks/results/<job>.md``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

from benchmarks.harness import ENVIRONMENT, pinned

JOBS = (
    ("agreement", "gradients"),
    ("agreement", "smooth"),
    ("agreement", "maps"),
    ("agreement_captum",),
    ("completeness",),
    ("accuracy",),
    ("evaluations",),
    ("masks",),
    ("perturbation", "torch"),
    ("perturbation", "jax"),
    ("perturbation", "tensorflow"),
    ("memory",),
    ("speed", "torch"),
    ("speed", "jax"),
    ("speed", "tensorflow"),
    ("maps", "torch"),
    ("maps", "jax"),
    ("maps", "tensorflow"),
    ("rules", "torch"),
    ("rules", "jax"),
    ("rules", "tensorflow"),
    ("zoo", "torch"),
    ("zoo", "transformers"),
    ("zoo", "keras_tensorflow"),
    ("zoo", "keras_jax"),
    ("zoo", "keras_torch"),
)
IN_THIS_PROCESS = "--here"


def main(*words: str) -> int:
    """Run the jobs that begin with ``words``; the exit status says whether all of them succeeded."""
    jobs = [job for job in JOBS if job[: len(words)] == words]
    if not jobs:
        print("usage: python -m benchmarks [" + " | ".join(" ".join(job) for job in JOBS) + "]", file=sys.stderr)
        return 2
    return max(subprocess.run(_command(job), env={**os.environ, **ENVIRONMENT}).returncode for job in jobs)


def _command(job: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "benchmarks", IN_THIS_PROCESS, *job]


if __name__ == "__main__":
    if sys.argv[1:2] == [IN_THIS_PROCESS]:
        pinned()
        import_module(f"benchmarks.{sys.argv[2]}").measure(*sys.argv[3:])
    else:
        sys.exit(main(*sys.argv[1:]))
