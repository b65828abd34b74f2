"""Flax: NNX modules, which hold their parameters, and Linen modules with their variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Self

from whence.backends.jax.model import Args, JaxModel, Kwargs, warn_of_training
from whence.backends.jax.static import Static
from whence.core.errors import ParameterError
from whence.core.layers import LayerCalls


class NnxModel(JaxModel):
    """An ``nnx.Module``; layers are its submodules by path, such as ``"stage2.0.conv1"``.

    The forward pass runs on a copy that shares the arrays, so that nothing it does is seen on the user's object.
    """

    default_layout = "NHWC"

    def layers(self) -> tuple[str, ...]:
        return tuple(name for name, module in _modules(self.target).items() if name and callable(module))

    def read_state(self) -> tuple[Static, Any]:
        from whence.backends.jax.nnx_state import Split, split

        last: list[Split] = self.store.get("last split", list)
        for known in last:
            if (state := known.state()) is not None:
                return state
        state, found = split(self.target, self.known)
        last[:] = [] if found is None else [found]
        return state

    def call(self, static: Static, arrays: Any, args: Args, kwargs: Kwargs, calls: LayerCalls) -> Any:
        from flax import nnx

        graph, variables = static.value
        # variables made anew at this level of tracing may be written to, by a module that counts its calls say
        module = nnx.merge(graph, variables.join(arrays))
        module.eval()
        modules = _modules(module)
        for name in calls.layers:
            if name in modules:
                _listen(modules[name], name, calls)
        return module(*args, **kwargs)

    @contextmanager
    def hold(self) -> Iterator[Self]:
        with super().hold():
            modes = self.store.get(("training", self.state()[0]), lambda: _training(self.target))
            if modes:
                warn_of_training(modes, self.target)
            yield self


def _modules(root: Any) -> dict[str, Any]:
    """Submodules by path, the root's path being empty; a shared one has the first of its paths."""
    from flax import nnx

    found: dict[str, Any] = {}
    for path, module in nnx.iter_graph(root):
        if isinstance(module, nnx.Module):
            found[".".join(str(part) for part in path)] = module
    # the list inside a Sequential is no name that anybody wrote
    inner = [name for name, module in found.items() if isinstance(module, nnx.Sequential)]
    return {_without_lists(name, inner): found[name] for name in sorted(found, key=_natural)}


def _without_lists(name: str, sequentials: list[str]) -> str:
    for prefix in sorted((f"{s}." if s else "" for s in sequentials), key=len, reverse=True):
        if name.startswith(prefix + "layers."):
            name = prefix + name.removeprefix(prefix + "layers.")
    return name


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _training(root: Any) -> list[str]:
    """Kinds of submodules in training mode."""
    return sorted({type(module).__name__ for module in _modules(root).values() if _in_training(module)})


def _in_training(module: Any) -> bool:
    dropping = getattr(module, "deterministic", None) is False and getattr(module, "rate", 1) != 0
    return dropping or getattr(module, "use_running_average", None) is False


def _listen(module: Any, name: str, calls: LayerCalls) -> None:
    """Make one module of the copy hand its input and output to ``calls``."""
    module_class: Any = type(module)
    object.__setattr__(module, "__class__", _listening(module_class))
    module.whence_listener = partial(calls.around, name)


@cache
def _listening(module_class: Any) -> Any:
    """A subclass whose calls are reported; cached, since JAX and Flax keep every module class for good."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.whence_listener(partial(module_class.__call__, self), args, kwargs)

    is_pytree = getattr(module_class, "_pytree__is_pytree", None)
    body = {"__call__": call, "__module__": module_class.__module__}
    options = {} if is_pytree is None else {"pytree": is_pytree}
    return type(module_class)(module_class.__name__, (module_class,), body, **options)


class LinenModel(JaxModel):
    """A Linen module with its variables: a bound module, or ``whence.wrap(module, variables=...)``.

    Layers are submodules by path. Their names come from the variables and from the forward passes seen so far, since
    Linen makes its submodules while it runs.
    """

    default_layout = "NHWC"

    def layers(self) -> tuple[str, ...]:
        paths: dict[str, None] = {}
        for collection in _bound(self)[1].values():
            _collect_paths(collection, "", paths)
        paths.update(dict.fromkeys(self._seen))
        return tuple(paths)

    @property
    def _seen(self) -> dict[str, None]:
        seen: dict[str, None] = self.store.get("layers seen", dict)
        return seen

    def read_state(self) -> tuple[Static, Any]:
        return Static.split(_bound(self)[1])

    def call(self, static: Static, arrays: Any, args: Args, kwargs: Kwargs, calls: LayerCalls) -> Any:
        from flax import linen

        seen = self._seen

        def listen(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            name = ".".join(context.module.path)
            if context.method_name != "__call__" or not name:
                return call(*args, **kwargs)
            seen[name] = None
            return calls.around(name, call, args, kwargs)

        with linen.intercept_methods(listen):
            return _bound(self)[0].apply(static.join(arrays), *args, **kwargs)


def _bound(model: LinenModel) -> tuple[Any, Mapping[str, Any]]:
    """The module without its scope, and the variables."""
    if model.options.variables is not None:
        return model.target, model.options.variables
    if model.target.scope is None:
        raise ParameterError(
            "a Linen module's variables",
            received=f"{type(model.target).__name__} alone",
            valid="module.bind(variables), or whence.wrap(module, variables=variables)",
        )
    module, variables = model.target.unbind()
    return module, variables


def _collect_paths(tree: Any, prefix: str, paths: dict[str, None]) -> None:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            paths[f"{prefix}{key}"] = None
            _collect_paths(value, f"{prefix}{key}.", paths)
