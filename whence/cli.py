"""The command ``whence``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from whence.core.errors import WhenceError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status: 0, 1 where something did not hold, 2 for a wrong use of the command."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except WhenceError as error:
        print(f"whence: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="whence", description="Where a neural network's prediction came from.")
    commands = parser.add_subparsers(title="commands", dest="command", required=True)

    demo = commands.add_parser(
        "demo", help="explain handwritten digits on every installed framework and write a page about it",
        description="Train a small network once, run it in every installed framework, explain the same digits with "
        "every method on each, compare the numbers, and write a self-contained HTML page. The exit status is 1 where "
        "a difference exceeds what is promised.",
    )  # fmt: skip
    demo.add_argument("--out", type=Path, default=Path("whence-demo.html"), help="the page (default: %(default)s)")
    demo.add_argument("--digits", type=int, default=20, help="how many digits to explain (default: %(default)s)")
    demo.add_argument("--frameworks", nargs="+", default=[], metavar="NAME", help="torch, tensorflow, jax")
    demo.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="names from 'whence methods'")
    demo.add_argument("--dtypes", nargs="+", choices=["float32", "float64"], default=["float32", "float64"],
                      help="float64 explains what float32 rounds (default: both)")  # fmt: skip
    demo.set_defaults(run=_demo)

    info = commands.add_parser(
        "info",
        help="show versions and accelerators",
        description="Versions of whence and of what it works with.",
    )
    info.add_argument("--devices", action="store_true", help="import each framework and ask for its devices")
    info.set_defaults(run=_info)

    methods = commands.add_parser("methods", help="list the methods", description="All methods, with their sources.")
    methods.set_defaults(run=_methods)
    return parser


def _demo(options: argparse.Namespace) -> int:
    # read when the frameworks are imported, which this process has not done yet
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads cost a network this small more than they give
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from whence.report import demo

    kept = demo.run(
        out=options.out, count=options.digits, frameworks=options.frameworks, methods=options.methods,
        dtypes=("float32", *(d for d in options.dtypes if d != "float32")), say=lambda text: print(text, flush=True),
    )  # fmt: skip
    return 0 if kept else 1


def _info(options: argparse.Namespace) -> int:
    from whence.report import versions

    for name, version in versions.versions().items():
        print(f"{name:<14}{version or 'not installed'}")
    print(f"{'GPU':<14}{'; '.join(versions.gpus()) or 'none found by nvidia-smi'}")
    if options.devices:
        for name, devices in versions.devices().items():
            print(f"{name + ' on':<14}{devices}")
    return 0


def _methods(options: argparse.Namespace) -> int:
    from whence.report.descriptions import descriptions

    for told in descriptions():
        print(f"{told.name}  ({told.class_name})\n    {told.sentence}")
        if told.source:
            print(f"    Source: {told.source}.")
    return 0
