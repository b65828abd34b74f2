"""Which affine operations are the last before the score: a program read backwards, loops and branches inside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from whence.backends.jax.program import Program
from whence.backends.jax.steps import Slot, Step
from whence.core.ahead import Ahead
from whence.core.layers import split_call
from whence.core.rule import Rule

Find = Callable[[Step], Rule | None]


def tell_last(program: Program, taps: Iterable[str], find: Find) -> None:
    """Tell each affine step whether it is a last one, and find its rule again.

    What is explained are the ``taps``, the program's outputs if there are none.
    """
    explained = [slot for name in taps for slot in _tapped(program, *split_call(name))] or program.outputs
    _ahead(program, {slot: Ahead.NO_AFFINE for slot in explained}, find)


def _tapped(program: Program, layer: str, call: int | None) -> Sequence[Slot]:
    """What that call of a layer gives; nothing where it was not reached, which is said elsewhere."""
    at = call or 0
    return [step.outputs[0] for step in program.steps if step.mark == layer][at : at + 1]


def _ahead(program: Program, after: dict[Slot, Ahead], find: Find) -> list[Ahead]:
    """What comes after the inputs of a program, from what comes after its outputs."""
    ahead = defaultdict(lambda: Ahead.NO_SCORE, after)
    for step in reversed(program.steps):
        behind = [ahead[slot] for slot in step.outputs]
        if not any(behind):
            continue
        if step.kind == "affine":
            step.last = Ahead.AFFINE not in behind
            step.rule = step.rule and find(step)
        if step.bodies:
            into = _CONTROL[step.primitive.name](step, behind, find)
        else:
            into = [Ahead.AFFINE if step.kind == "affine" else max(behind)] * len(step.inputs)
        for i in step.data:
            ahead[step.inputs[i]] = max(ahead[step.inputs[i]], into[i])
    return [ahead[slot] for slot in program.inputs]


def _before_cond(step: Step, behind: Sequence[Ahead], find: Find) -> list[Ahead]:
    found = (_ahead(body, _by_slot(body, behind), find) for body in step.bodies)
    return [Ahead.NO_SCORE, *map(max, zip(*found, strict=True))]


def _before_scan(step: Step, behind: Sequence[Ahead], find: Find) -> list[Ahead]:
    (body,), after = step.bodies, list(behind)
    first, last = step.params["num_consts"], step.params["num_consts"] + step.params["num_carry"]
    while True:
        # what is carried goes on to the next turn as well
        found = _ahead(body, _by_slot(body, after), find)
        turned = [*map(max, zip(after, found[first:last], strict=False)), *after[last - first :]]
        if turned == after:
            return found
        after = turned


def _by_slot(body: Program, behind: Sequence[Ahead]) -> dict[Slot, Ahead]:
    found: dict[Slot, Ahead] = {}
    for slot, ahead in zip(body.outputs, behind, strict=True):
        found[slot] = max(ahead, found.get(slot, ahead))
    return found


_CONTROL: dict[str, Callable[[Step, Sequence[Ahead], Find], list[Ahead]]] = {"cond": _before_cond, "scan": _before_scan}
