"""``python -m benchmarks`` measures everything; ``python -m benchmarks speed torch`` or ``memory`` measures a part.

Each part, and each framework's speed, runs in a process of its own with one thread on one core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import import_module

from benchmarks.harness import ONE_THREAD, pinned

FRAMEWORKS = ("torch", "jax", "tensorflow")
PARTS = ("agreement_captum", "completeness", "accuracy", "memory", "speed")


def main() -> int:
    """Run the parts asked for; the exit status says whether all of them ran."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=PARTS, help="what to measure; everything if left out")
    parser.add_argument("framework", nargs="?", choices=FRAMEWORKS, help="speed on this framework only")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        pinned()
        import_module(f"benchmarks.{given.part}").main(*filter(None, [given.framework]))
        return 0
    jobs = [[given.part]] if given.part else [[part] for part in PARTS]
    jobs = [[part, name] if part == "speed" else [part] for (part,) in jobs for name in _frameworks(part, given)]
    return max(subprocess.run(_command(job), env={**os.environ, **ONE_THREAD}).returncode for job in jobs)


def _frameworks(part: str, given: argparse.Namespace) -> tuple[str, ...]:
    if part != "speed":
        return ("",)
    return (given.framework,) if given.framework else FRAMEWORKS


def _command(job: list[str]) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "benchmarks", *job, "--here"]


if __name__ == "__main__":
    sys.exit(main())
