"""PyTorch models as users have them: modules, scripted and compiled ones, plain functions, Keras on torch."""

from __future__ import annotations

import threading
import warnings
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch.utils.checkpoint import CheckpointError

from whence.backends.torch.ops import TorchOps, ops
from whence.core.errors import DTypeError, LayerError, TrainingModeWarning
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

    def _call(self, inputs: Any, function: Callable[..., Any] | None = None) -> Tensor:
        args, kwargs = self._arguments(_own(inputs, channels_last=self._convolves()))
        return self._select_output((function or self.target)(*args, **kwargs))

    def _convolves(self) -> bool:
        """Whether images are best given channels last in memory."""
        return False


class FunctionModel(TorchModel):
    """A plain function on torch tensors."""

    def layers(self) -> tuple[str, ...]:
        return ()

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = (),
        within: Within | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        return self._call(inputs), LayerCalls(edits, taps, within).finish(())


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
        return output, calls.finish(self.layers())

    def _convolves(self) -> bool:
        return any(isinstance(m, torch.nn.Conv2d) for m in self.target.modules())

    @contextmanager
    def hold(self) -> Iterator[Self]:
        with inference(self.target):
            yield self

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        dtypes = {p.dtype for p in self.target.parameters() if p.is_floating_point()}
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


def uncompiled(module: torch.nn.Module) -> torch.nn.Module:
    """The module that ``torch.compile`` wrapped: compiled code does not call the layers from Python."""
    original = getattr(module, "_orig_mod", None)
    return original if isinstance(original, torch.nn.Module) else module


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
    modules = _hookable(module)
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
        for name in set(calls.layers) & set(modules):
            if name in calls.scoped:
                handles.append(modules[name].register_forward_pre_hook(begin_of(name)))
                handles.append(modules[name].register_forward_hook(end_of(name)))
            if name + IN in wanted:
                handles.append(modules[name].register_forward_pre_hook(hook_before(name), with_kwargs=True))
            if name in wanted:
                handles.append(modules[name].register_forward_hook(hook_of(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hookable(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules inside by name, apart from scripted ones and from those inside a compiled part.

    Scripted modules take no hooks. Code compiled without a hook may run in its presence, and the other way round.
    """
    found: dict[str, torch.nn.Module] = {}
    closed: tuple[str, ...] = ()
    for name, inner in module.named_modules():
        if not name or name.startswith(closed):
            continue
        in_place = getattr(inner, "_compiled_call_impl", None) is not None
        if in_place or isinstance(inner, torch.jit.ScriptModule):
            closed += (f"{name}.",)
            continue
        if uncompiled(inner) is not inner:
            closed += (f"{name}.",)
        found[name] = inner
    return found


def _copy(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.clone()
    nested = isinstance(output, (tuple, list)) and bool(output)
    return sequence(type(output), (_copy(output[0]), *output[1:])) if nested else output


class _Held:
    """The state that ``inference`` changed on one module, and how many explanations rely on it."""

    def __init__(self) -> None:
        self.users = 0
        self.training: list[torch.nn.Module] = []
        self.trainable: list[torch.nn.Parameter] = []


_held: weakref.WeakKeyDictionary[torch.nn.Module, _Held] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


@contextmanager
def inference(
    module: torch.nn.Module, *, warn: bool = True, parameters: Sequence[Tensor] | None = None
) -> Iterator[None]:  # fmt: skip
    """Inference mode and frozen parameters while any thread explains through the module; then as it was.

    ``parameters`` are the module's where it does not list them all.

    Compiled modules keep their flags unless they are training: a changed flag would compile them again.
    """
    with _lock:
        held = _held.setdefault(module, _Held())
        if held.users == 0:
            held.training = [m for m in module.modules() if m.training]
            if warn and any(_behaves_otherwise(m) for m in held.training):
                warnings.warn(
                    f"{type(module).__name__} is in training mode; it is run in inference mode for this call "
                    "and put back afterwards.",
                    TrainingModeWarning,
                    stacklevel=6,
                )
            for m in held.training:
                m.training = False
            if uncompiled(module) is module:
                own = module.parameters() if parameters is None else parameters
                held.trainable = [p for p in own if p.requires_grad]
                for p in held.trainable:
                    p.requires_grad_(False)
        held.users += 1
    try:
        yield
    finally:
        with _lock:
            held.users -= 1
            if held.users == 0:
                for m in held.training:
                    m.training = True
                for p in held.trainable:
                    p.requires_grad_(True)
                del _held[module]


_TRAINING_MATTERS = (torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._NormBase)


def _behaves_otherwise(module: torch.nn.Module) -> bool:
    """Whether a module in training mode computes something else: a fresh model of plain layers needs no warning."""
    ours = type(module).__module__.startswith("torch.nn.")
    return isinstance(module, _TRAINING_MATTERS) or bool(getattr(module, "dropout", 0)) or not ours
