"""The two functions users start with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

from whence.core.backend import adapt
from whence.core.explanation import Explanation
from whence.core.model import Model, Options
from whence.core.registry import method_class


@overload
def explain(
    model: Any, inputs: Any, method: str = "integrated_gradients", target: Any = None, *,
    multi_target: Literal[False] = False, batch_size: int | None = None, progress: bool = False, **params: Any,
) -> Explanation: ...  # fmt: skip


@overload
def explain(
    model: Any, inputs: Any, method: str = "integrated_gradients", target: Any = None, *,
    multi_target: Literal[True], batch_size: int | None = None, progress: bool = False, **params: Any,
) -> tuple[Explanation, ...]: ...  # fmt: skip


def explain(
    model: Any, inputs: Any, method: str = "integrated_gradients", target: Any = None, *,
    multi_target: bool = False, batch_size: int | None = None, progress: bool = False, **params: Any,
) -> Explanation | tuple[Explanation, ...]:  # fmt: skip
    """Explain a model of any framework by the name of a method; ``params`` are the method's own.

    See ``Method.explain`` for ``inputs``, ``target``, ``multi_target`` and ``batch_size``, and ``whence.methods()`` for
    the names.
    """
    made = method_class(method)(**params)
    if multi_target:
        return made.explain(model, inputs, target, multi_target=True, batch_size=batch_size, progress=progress)
    return made.explain(model, inputs, target, batch_size=batch_size, progress=progress)


def wrap(
    model: Any, *, framework: str | None = None, layout: str | None = None,
    output: str | int | Callable[[Any], Any] | None = None, preprocess: Callable[[Any], Any] | None = None,
    kwargs: Mapping[str, Any] | None = None, variables: Any = None, per_sample: bool | None = None,
    unpack: bool | None = None, convert: bool = False,
) -> Model:  # fmt: skip
    """Say once what is special about a model; see ``Options`` for the meaning of each.

    ``framework`` names the framework of a plain function: ``"torch"``, ``"jax"``, ``"tensorflow"`` or ``"numpy"``.
    """
    options = Options(
        layout=layout,
        output=output,
        preprocess=preprocess,
        kwargs=dict(kwargs or {}),
        variables=variables,
        per_sample=per_sample,
        unpack=unpack,
        convert=convert,
    )
    return adapt(model, options, framework=framework)
