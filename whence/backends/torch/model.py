"""PyTorch models as users have them: modules, scripted and compiled ones, plain functions, Keras on torch."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch.utils.checkpoint import CheckpointError

from whence.backends.torch.compiled import is_compiled_in_place, uncompiled
from whence.backends.torch.inference import held, inference, parameters_of
from whence.backends.torch.memory_format import copied_weights
from whence.backends.torch.ops import TorchOps, ops
from whence.core.errors import DTypeError, LayerError
from whence.core.layers import IN, LayerCalls, Within, split_call
from whence.core.model import Edit, Leaf, Model, reference
from whence.core.ops import Tensor
from whence.core.rule import RuleSet
from whence.core.tree import sequence


class TorchModel(Model):
    """What all PyTorch models share: leaves run eagerly."""

    ops: TorchOps = ops

    @abstractmethod
    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = (),
        within: Within | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """``Model.run``; the calls of some layers are ``within`` scopes."""

    def _build(self, leaf: Leaf) -> Callable[..., Any]:
        target, bind = reference(self.target), self._binder()

        def eager(*tensors: Any) -> Any:
            try:
                return leaf(bind(target()).run, *tensors)
            except CheckpointError as error:
                raise LayerError(
                    "gradients towards a layer",
                    received="one inside torch.utils.checkpoint, which runs it again without what was put in",
                    valid="the model with its activation checkpointing switched off",
                ) from error

        return eager

    def _binder(self) -> Callable[[Any], Model]:
        """How compiled code makes this model again from the user's, which it may not keep alive."""
        make, options = type(self), self.options
        return lambda target: make(target, options)

    def place(self, value: Any) -> Tensor:
        return ops.asarray(value)

    def intercept(self, rules: RuleSet) -> Model:
        from whence.backends.torch.intercept import InterceptedModel

        return InterceptedModel(self, rules)

    def _call(self, inputs: Any, function: Callable[..., Any] | None = None, *, channels_last: bool = False) -> Tensor:
        """The output; images are handed over ``channels_last`` where convolutions run fastest that way."""
        args, kwargs = self._arguments(_own(inputs, channels_last=channels_last))
        return self._select_output((function or self.target)(*args, **kwargs))


class FunctionModel(TorchModel):
    """A plain function on torch tensors."""

    def layers(self) -> tuple[str, ...]:
        return ()

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = (),
        within: Within | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        return self._call(inputs), LayerCalls(edits, taps, within).finish(self.layers)


class ModuleModel(TorchModel):
    """An ``nn.Module``; layers are its submodules by name."""

    default_layout = "NCHW"

    def layers(self) -> tuple[str, ...]:
        return tuple(name for name, _ in uncompiled(self.target).named_modules() if name)

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = (),
        within: Within | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        calls, module = LayerCalls(edits, taps, within), uncompiled(self.target)
        if not calls.layers and not calls.every:
            return self._call(inputs), {}
        if isinstance(module, torch.jit.ScriptModule):
            raise LayerError(
                f"layers {', '.join(calls.layers)}",
                received="a scripted module, whose layers cannot be reached",
                valid="the module before torch.jit",
            )
        with _hooks(module, calls):
            # past a call that ``module.compile()`` has compiled
            output = type(self)(module, self.options)._call(inputs, module._call_impl)
        return output, calls.finish(self.layers)

    def _call(self, inputs: Any, function: Callable[..., Any] | None = None, *, channels_last: bool = False) -> Tensor:
        state = held(self.target)
        with copied_weights(state.weights_of_next_pass()):
            return super()._call(inputs, function, channels_last=channels_last or state.convolves)

    @contextmanager
    def hold(self) -> Iterator[Self]:
        with inference(self.target):
            yield self

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        dtypes = {p.dtype for p in parameters_of(self.target.modules()) if p.is_floating_point()}
        for name, leaf in zip(names, leaves, strict=True):
            if self.options.preprocess is None and leaf.is_floating_point() and dtypes and leaf.dtype not in dtypes:
                wanted = " or ".join(sorted(ops.dtype(torch.empty(0, dtype=d)) for d in dtypes))
                raise DTypeError(
                    f"{name} for a model of {wanted} parameters",
                    received=ops.dtype(leaf),
                    valid=f"inputs of {wanted}, or the model cast to {ops.dtype(leaf)}",
                )

    def place(self, value: Any) -> Tensor:
        parameter = next(self.target.parameters(), None)
        return ops.asarray(value) if parameter is None else ops.asarray(value).to(parameter.device)


def _own(inputs: Any, *, channels_last: bool) -> Any:
    """Copies that the model may write on; images in the memory format in which convolutions run fastest."""
    if isinstance(inputs, dict):
        return {key: _own(x, channels_last=channels_last) for key, x in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return sequence(type(inputs), [_own(x, channels_last=channels_last) for x in inputs])
    if channels_last and inputs.ndim == 4 and inputs.is_floating_point():
        return inputs.clone(memory_format=torch.channels_last)
    return inputs.clone(memory_format=torch.contiguous_format)


@contextmanager
def _hooks(module: torch.nn.Module, calls: LayerCalls) -> Iterator[None]:
    """Forward hooks on the wanted layers, for calls of this thread only, removed on the way out."""
    here, handles, wanted = threading.get_ident(), [], calls.wanted
    modules = {name: inner for name in calls.layers if (inner := _hookable(module, name)) is not None}
    edited, differentiated = {split_call(name)[0] for name in calls.edits}, torch.is_grad_enabled()

    def hook_of(name: str) -> Callable[..., Any]:
        def hook(_module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
            if threading.get_ident() != here:
                return None
            require_graph(name)
            # the model goes on with a copy, since an in-place operation would overwrite what was tapped or put in
            return _copy(calls(name, output))

        return hook

    def require_graph(name: str) -> None:
        if name in edited and differentiated and not torch.is_grad_enabled():
            raise LayerError(
                f"gradients towards layer {name!r}",
                received="a call of it under torch.no_grad, as in a reentrant checkpoint",
                valid="a layer that the model calls with gradients on",
            )

    def hook_before(name: str) -> Callable[..., Any]:
        def hook(_module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
            if threading.get_ident() != here:
                return None
            require_graph(name + IN)
            args, kwargs = calls.enter(name, args, kwargs)
            return tuple(map(_copy, args)), {key: _copy(value) for key, value in kwargs.items()}

        return hook

    def begin_of(name: str) -> Callable[..., None]:
        return lambda *_: calls.begin(name) if threading.get_ident() == here else None

    def end_of(name: str) -> Callable[..., None]:
        return lambda *_: calls.end(name) if threading.get_ident() == here else None

    try:
        for name, inner in modules.items():
            if name in calls.scoped:
                handles.append(inner.register_forward_pre_hook(begin_of(name)))
                handles.append(inner.register_forward_hook(end_of(name)))
            if name + IN in wanted:
                handles.append(inner.register_forward_pre_hook(hook_before(name), with_kwargs=True))
            if name in wanted:
                handles.append(inner.register_forward_hook(hook_of(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hookable(module: torch.nn.Module, name: str) -> torch.nn.Module | None:
    """The module of that name, unless it is scripted or inside a compiled part.

    Scripted modules take no hooks. Code compiled without a hook may run in its presence, and the other way round.
    """
    for part in name.split("."):
        inner = None if uncompiled(module) is not module else module._modules.get(part)
        if inner is None or is_compiled_in_place(inner):
            return None
        module = inner
    return module


def _copy(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.clone()
    nested = isinstance(output, (tuple, list)) and bool(output)
    return sequence(type(output), (_copy(output[0]), *output[1:])) if nested else output
