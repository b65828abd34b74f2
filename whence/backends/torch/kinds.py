"""The canonical kind of each torch function, by its name: the same for ``torch.add``, ``x.add`` and ``x + y``.

What is not in the table is opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from whence.core.rule import POWERS

_TABLE: Mapping[str, str] = {
    "smooth": """acos acosh asin asinh atan atanh cos cosh digamma erf erfc erfinv exp exp2 expm1 float_power gelu
        lgamma log log10 log1p log2 log_sigmoid logit mish pow reciprocal rsqrt sigmoid silu sin sinh sinc softplus
        sqrt square tan tanh""",
    "kinked": """abs absolute celu ceil clamp clamp_max clamp_min clip elu floor fmod frac hardshrink hardswish
        hardtanh leaky_relu maximum minimum prelu relu6 remainder round rrelu selu sign softshrink threshold
        trunc""",
    "relu": "relu",
    "linear": """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d add adjoint alpha_dropout as_strided
        avg_pool1d avg_pool2d avg_pool3d bfloat16 broadcast_to cat chunk channel_shuffle clone col2im concat concatenate
        constant_pad_nd contiguous copy cpu cuda cumsum diag diag_embed diagonal diff double dropout dropout1d dropout2d
        dstack expand expand_as feature_dropout flatten flip float fold gather get getitem half hstack im2col
        imag index_add index_copy index_put index_select mT masked_select mean moveaxis movedim narrow neg negative
        nansum pad permute pixel_shuffle pixel_unshuffle positive ravel real reflection_pad1d reflection_pad2d
        reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape
        reshape_as roll rot90 rsub scatter scatter_add select setitem split split_with_sizes squeeze stack sub
        subtract sum sum_to_size swapaxes swapdims t take take_along_dim tensor_split tile to trace transpose tril triu
        type type_as unbind unflatten unfold unsafe_chunk unsafe_split unsqueeze upsample_bicubic2d upsample_bilinear2d
        upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d view view_as
        vstack _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d _unsafe_view""",
    "discrete": """eq ge greater greater_equal gt isfinite isinf isnan le less less_equal logical_and logical_not
        logical_or logical_xor lt ne not_equal bitwise_and bitwise_not bitwise_or and or xor invert""",
    "mul": "mul multiply",
    "matmul": "matmul mm bmm mv dot inner outer einsum linear bilinear tensordot",
    "conv": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution",
    "div": "div divide true_divide truediv",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "logsumexp": "logsumexp",
    "max_pool": """max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
        max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d""",
    "max": "amax max",
    "min": "amin min",
    "select": "where masked_fill",
    "stop_gradient": "detach",
}
PADS = ("pad", "constant_pad_nd")
"""Functions that pad with a constant; some of them do so in other ways as well."""
_KINDS = {name: kind for kind, names in _TABLE.items() for name in names.split()}
_BOTH_WAYS = ("add", "sub", "mul", "div", "truediv", "pow", "matmul", "and", "or", "xor")
"""Python's operators, of which there are a reflected form and one in place."""
KINKED = frozenset((*_TABLE["kinked"].split(), "relu", "where", "masked_fill", "max", "min"))
"""Functions whose derivative jumps somewhere."""
_OTHERS_VALUE_BY_VALUE = """add batch_norm bfloat16 clone contiguous div divide double float half mul multiply neg
    negative positive rsub sub subtract to true_divide truediv type type_as"""
VALUE_BY_VALUE = frozenset(_OTHERS_VALUE_BY_VALUE.split()) | {
    name for name, kind in _KINDS.items() if kind in ("smooth", "kinked", "relu", "discrete", "select")
}
"""Functions that work value by value where the shapes of their tensors agree."""


@cache
def canonical(function: Callable[..., Any]) -> str:
    """The name without underscores, and without what Python's operators put in front of it."""
    name = str(getattr(function, "__name__", ""))
    plain = name.strip("_")
    if name.startswith("__") and plain[1:] in _BOTH_WAYS and plain[0] in "ri":
        return "rsub" if plain == "rsub" else plain[1:]
    return name if name in _KINDS else plain


def kinds_of(name: str) -> tuple[str, ...]:
    """The kinds that calls of a function of that name may have."""
    kind = _KINDS.get(name, "opaque")
    return {
        "smooth": ("elementwise", "opaque"),
        "kinked": ("elementwise", "relu", "max", "min", "opaque"),
        "max": ("max", "elementwise", "relu"),
        "min": ("min", "elementwise"),
        "mul": ("linear", "mul", "elementwise"),
        "select": ("select", "linear"),
        "matmul": ("affine", "matmul"),
        "conv": ("affine", "conv"),
        "div": ("linear", "div", "elementwise", "opaque"),
    }.get(kind, (kind, "linear") if kind == "opaque" else (kind,))


def kind_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], data: tuple[int, ...]) -> tuple[str, Any]:
    """Kind and parameters of a call whose tensors at ``data`` depend on the attributed input."""
    kind, several = _KINDS.get(name, "opaque"), len(data) > 1
    if kind in ("linear", "discrete"):
        return kind, {}
    x, *rest = args or (kwargs.get("input"),)
    match kind:
        case "smooth" | "kinked" if name in ("maximum", "minimum"):
            return _extreme(name, data, [x, *rest, kwargs.get("other")])
        case "smooth" | "kinked" if several:
            return "opaque", {}
        case "kinked" if name in ("clamp", "clip", "clamp_min"):
            low = rest[0] if rest else kwargs.get("min")
            high = rest[1] if len(rest) > 1 else kwargs.get("max")
            return ("relu" if high is None and _is_zero(low) else "elementwise"), {"kinked": True}
        case "smooth" | "kinked":
            return "elementwise", {"kinked": kind == "kinked", "power": POWERS.get(name)}
        case "opaque" if name == "batch_norm" and not (rest[4] if len(rest) > 4 else kwargs["training"]):
            return "linear", {}
        case "max" | "min" if rest and isinstance(rest[0], torch.Tensor):
            return _extreme(kind, data, [x, *rest])
        case "mul" if not several:
            return "linear", {}
        case "matmul" | "conv" if several:
            return kind, {}
        case "matmul" | "conv":
            has_bias = name == "linear" or kind == "conv"
            bias = (rest[1] if len(rest) > 1 else kwargs.get("bias")) if has_bias else None
            return "affine", {"conv": kind == "conv", "bias": None if bias is None else 2}
        case "div" if kwargs.get("rounding_mode") is not None:
            return "opaque", {}
        case "div" if data == (0,):
            return "linear", {}
        case "softmax" | "log_softmax" | "logsumexp":
            return kind, {"axis": kwargs["dim"] if "dim" in kwargs else rest[0]}
        case _:
            return kind, {}


def _extreme(name: str, data: tuple[int, ...], operands: list[Any]) -> tuple[str, Any]:
    """A maximum or minimum of two tensors: with a constant it is elementwise, a relu if that is zero."""
    kind = name[:3]
    if len(data) > 1:
        return kind, {}
    constant = [x for x in operands if isinstance(x, torch.Tensor) and not x.requires_grad]
    return ("relu" if kind == "max" and constant and _is_zero(constant[0]) else "elementwise"), {"kinked": True}


def _is_zero(x: Any) -> bool:
    return not bool(x.any()) if isinstance(x, torch.Tensor) else (x is not None and x == 0)


LINEAR_NODES = frozenset(
    """AccumulateGrad AdaptiveAvgPool2D AdaptiveAvgPool3D Add Addbmm Addmm Addmv Alias AsStrided AvgPool2D AvgPool3D
    Baddbmm Bmm Cat Clone Col2Im ConstantPadNd Convolution Copy CopyBackwards CopySlices CudnnBatchNorm
    CudnnConvolution Cumsum Diagonal Div Dot Embedding Expand Fill Flip Gather Im2Col Index IndexAdd IndexCopy IndexPut
    IndexSelect Lift Linear MaskedFill MaskedScatter MaskedSelect Mean MkldnnConvolution Mm Mul Mv NativeBatchNorm
    NativeDropout Neg Permute PixelShuffle PixelUnshuffle ReflectionPad1D ReflectionPad2D ReflectionPad3D Repeat
    ReplicationPad1D ReplicationPad2D ReplicationPad3D ReshapeAlias Reshape Roll Rsub Scatter ScatterAdd Select
    SlowConv2D Slice Split SplitWithSizes Squeeze Stack Sub Sum T Take ThnnConv2D ToCopy Trace Transpose Tril Triu
    Unbind Unfold UnsafeSplit UnsafeView Unsqueeze UpsampleBicubic2D UpsampleBilinear2D UpsampleLinear1D
    UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D
    UpsampleTrilinear3D View Where""".lower().split()
)  # fmt: skip
"""Autograd's names, in lower case, for operations that are linear in what depends on the input."""
