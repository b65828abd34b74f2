"""The tensor operations that methods and the engine may use, on each framework's native tensors.

Names, argument names and meaning follow the Python array API standard. ``+ - * / **``, comparisons and
basic slicing stay native, shape work is einops. A backend subclasses ``Ops`` and fills in every function.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from whence.core.interpolation import resize_matrix

Tensor = Any
Pullback = Callable[[Tensor], tuple[Tensor, ...]]
Watch = Callable[[str, Tensor], Tensor]
Axis = int | tuple[int, ...] | None


class Ops(ABC):
    """Native tensor operations of one framework; ``dtype`` and ``device`` are plain strings."""

    name: str
    """The framework: ``"torch"``, ``"jax"``, ``"tensorflow"``, ``"numpy"``."""
    differentiable: bool = True
    """Whether ``vjp`` and ``custom_vjp`` work."""
    static_shapes: bool = False
    """Whether a new shape costs a compilation, so that the engine keeps chunk shapes constant."""
    chunk_bytes: int = 4 * 2**20
    """Bytes of input rows in one chunk that keep a convolutional network's activations near the caches."""
    forward_rows: int = 32
    """Rows of one chunk at least where no gradient is taken: fewer cost more each."""

    # -- convert -----------------------------------------------------------------------------------------
    @abstractmethod
    def is_tensor(self, x: Any) -> bool:
        """Whether ``x`` is this framework's tensor."""

    @abstractmethod
    def asarray(self, a: Any, *, like: Tensor | None = None, dtype: str | None = None) -> Tensor:
        """A native tensor from NumPy or Python numbers; ``like`` carries device and, for floats, dtype."""

    def argument(self, a: np.ndarray, *, like: Tensor, dtype: str | None = None) -> Tensor | np.ndarray:
        """What compiled code is given for a host array: ``asarray``, or an array that it takes itself at less cost."""
        return self.asarray(a, like=like, dtype=dtype)

    @abstractmethod
    def to_numpy(self, x: Tensor) -> np.ndarray:
        """The values on the host."""

    @abstractmethod
    def shape(self, x: Tensor) -> tuple[int, ...]:
        """The static shape."""

    @abstractmethod
    def dtype(self, x: Tensor) -> str:
        """The name of the element type, such as ``"float32"``."""

    @abstractmethod
    def device(self, x: Tensor) -> str:
        """Where the tensor lives, in the framework's own words."""

    @abstractmethod
    def astype(self, x: Tensor, dtype: str) -> Tensor:
        """Cast to the named element type."""

    @abstractmethod
    def stop_gradient(self, x: Tensor) -> Tensor:
        """The same values, constant for differentiation."""

    # -- create and select -------------------------------------------------------------------------------
    @abstractmethod
    def zeros_like(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def ones_like(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def full_like(self, x: Tensor, fill_value: float) -> Tensor: ...

    @abstractmethod
    def concat(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor: ...

    @abstractmethod
    def stack(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor: ...

    @abstractmethod
    def where(self, condition: Tensor, x1: Tensor | float, x2: Tensor | float) -> Tensor:
        """x1 where the condition holds, else x2; one of them may be a number."""

    def where_zero(self, x: Tensor, instead: Callable[[], Tensor | float], otherwise: Tensor) -> Tensor:
        """``instead()`` where x is zero, else ``otherwise``; not asked if it can be seen at once that x nowhere is."""
        return self.where(x == 0, instead(), otherwise)

    @abstractmethod
    def take(self, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
        """Entries along one axis at one-dimensional integer ``indices``."""

    @abstractmethod
    def take_along_axis(self, x: Tensor, indices: Tensor, *, axis: int) -> Tensor: ...

    @abstractmethod
    def broadcast_to(self, x: Tensor, shape: tuple[int, ...]) -> Tensor: ...

    @abstractmethod
    def pad(self, x: Tensor, widths: Sequence[tuple[int, int]], *, value: float = 0.0) -> Tensor:
        """Pad with a constant, ``(before, after)`` per axis."""

    # -- elementwise -------------------------------------------------------------------------------------
    @abstractmethod
    def abs(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def sign(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def exp(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def expm1(self, x: Tensor) -> Tensor:
        """exp(x) - 1, as precise near zero as elsewhere."""

    @abstractmethod
    def log(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def sqrt(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def tanh(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def isfinite(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def clip(self, x: Tensor, min: float | None = None, max: float | None = None) -> Tensor: ...

    @abstractmethod
    def maximum(self, x1: Tensor, x2: Tensor) -> Tensor: ...

    @abstractmethod
    def minimum(self, x1: Tensor, x2: Tensor) -> Tensor: ...

    # -- reduce ------------------------------------------------------------------------------------------
    @abstractmethod
    def sum(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor: ...

    @abstractmethod
    def mean(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor: ...

    @abstractmethod
    def max(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor: ...

    @abstractmethod
    def min(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor: ...

    @abstractmethod
    def any(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor: ...

    @abstractmethod
    def all(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor: ...

    @abstractmethod
    def argmax(self, x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:
        """Index of the largest entry; the first one among equals."""

    @abstractmethod
    def argsort(self, x: Tensor, *, axis: int = -1, descending: bool = False) -> Tensor:
        """Stable order of the entries."""

    @abstractmethod
    def cumulative_sum(self, x: Tensor, *, axis: int) -> Tensor: ...

    @abstractmethod
    def matmul(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Matrix products over the last two axes; both tensors have at least two."""

    # -- differentiate -----------------------------------------------------------------------------------
    @abstractmethod
    def vjp(self, fn: Callable[..., Tensor], *xs: Tensor) -> tuple[Tensor, Pullback]:
        """``fn(*xs)`` and its pullback: a cotangent of the output to one of each input.

        An input that the output does not depend on gets zeros, never None. The pullback is called once at most, so that
        it may give back what the forward pass kept as it goes.
        """

    def vjp_inside(
        self, fn: Callable[[Watch], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], Callable[[Tensor], dict[str, Tensor]]]:
        """``fn(watch)``, the values it watched, and a function from a cotangent of the output to theirs, by name.

        ``watch(name, value)`` gives the value to go on with. A value that the output does not depend on gets zeros.
        """
        found: dict[str, Tensor] = {}

        def seen(name: str, value: Tensor) -> Tensor:
            found[name] = value
            return value

        fn(seen)
        names = tuple(found)

        def with_offsets(*offsets: Tensor) -> Tensor:
            added = dict(zip(names, offsets, strict=True))
            return fn(lambda name, value: value + added[name])

        y, pullback = self.vjp(with_offsets, *(self.zeros_like(x) for x in found.values()))
        return y, found, lambda cotangent: dict(zip(names, pullback(cotangent), strict=True))

    @abstractmethod
    def custom_vjp(
        self, fwd: Callable[..., tuple[Tensor, Any]], bwd: Callable[[Any, Tensor], tuple[Tensor, ...]]
    ) -> Callable[..., Tensor]:
        """A function with its own derivative.

        ``fwd(*xs)`` gives the output and the residuals, ``bwd(residuals, cotangent)`` one cotangent per input.
        """

    @abstractmethod
    def evaluate(self, fn: Callable[..., Any], *xs: Any) -> Any:
        """``fn(*xs)``, keeping nothing for a later derivative."""

    @abstractmethod
    def compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, compiled where the framework gains by it."""

    # -- the machine -------------------------------------------------------------------------------------
    @abstractmethod
    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an exception of the framework means that memory ran out."""

    @abstractmethod
    def free_memory(self, x: Tensor) -> int | None:
        """Bytes free on the tensor's device, None where nobody knows."""

    @abstractmethod
    def matmul_precision(self, x: Tensor) -> str:
        """How float32 products are computed on the tensor's device: ``"float32"``, ``"tf32"``, ..."""

    # -- shared by all frameworks ------------------------------------------------------------------------
    def is_floating(self, x: Tensor) -> bool:
        """Whether the elements are real floating-point numbers."""
        return "float" in self.dtype(x)

    def weighted_sum(self, weights: Tensor, x: Tensor) -> Tensor:
        """sum_k weights[k] x[k] over the first axis, in full precision whatever products of matrices have."""
        return self.sum(weights[(slice(None), *(None,) * (len(self.shape(x)) - 1))] * x, axis=0)

    def resize(self, x: Tensor, size: Sequence[int], *, axes: Sequence[int], method: str = "bilinear") -> Tensor:
        """Resample ``axes`` to ``size``: half-pixel centres, no antialiasing, ``"bilinear"`` or ``"nearest"``.

        One small matrix product per axis, so that every framework gives the same numbers.
        """
        for axis, length in zip(axes, size, strict=True):
            matrix = self.asarray(resize_matrix(self.shape(x)[axis], length, method), like=x)
            x = self.apply_along_axis(matrix, x, axis)
        return x

    def apply_along_axis(self, matrix: Tensor, x: Tensor, axis: int) -> Tensor:
        """Multiply the vectors of ``x`` along one axis by ``matrix[new, old]``."""
        from einops import einsum

        names = [f"a{i}" for i in range(len(self.shape(x)))]
        old, axis = " ".join(names), axis % len(names)
        names[axis] = "new"
        return einsum(matrix, x, f"new a{axis}, {old} -> {' '.join(names)}")
