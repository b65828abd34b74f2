"""The canonical kind of each TensorFlow operation; what is not in the table is opaque."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from whence.core.rule import POWERS

_TABLE: Mapping[str, str] = {
    "smooth": """Acos Acosh Asin Asinh Atan Atanh Cos Cosh Digamma Erf Erfc Exp Expm1 Inv Lgamma Log Log1p Ndtri
        Reciprocal Rsqrt Sigmoid Sin Sinh Softplus Sqrt Square Tan Tanh""",
    "kinked": "Abs Ceil Elu Floor LeakyRelu Relu6 Round Selu Sign Softsign",
    "linear": """Add AddN AddV2 AvgPool AvgPool3D BatchToSpace BatchToSpaceND BiasAdd BroadcastTo Cast Concat ConcatV2
        Cumsum DepthToSpace EnsureShape ExpandDims Gather GatherNd GatherV2 Identity IdentityN
        ImageProjectiveTransformV3 MatrixDiag MatrixDiagV3 MatrixDiagPartV3 Mean MirrorPad Neg Pack Pad PadV2
        PlaceholderWithDefault Reshape ResizeBicubic ResizeBilinear ResizeNearestNeighbor Reverse ReverseV2 Roll
        ScatterNd Slice Snapshot SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV Squeeze StridedSlice Sub Sum
        TensorListFromTensor TensorListGetItem TensorListSetItem TensorListStack TensorListConcatV2 TensorListGather
        TensorListPushBack TensorListPopBack TensorScatterAdd TensorScatterUpdate Tile Transpose Unpack ZerosLike""",
    "discrete": """ArgMax ArgMin Equal Greater GreaterEqual IsFinite IsInf IsNan Less LessEqual LogicalAnd LogicalNot
        LogicalOr NotEqual OnesLike""",
    "conv": "Conv2D Conv3D DepthwiseConv2dNative Conv2DBackpropInput Conv3DBackpropInputV2",
    "matmul": "MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum",
    "mul": "Mul MulNoNan",
    "div": "RealDiv Div DivNoNan",
    "max_pool": "MaxPool MaxPoolV2 MaxPool3D",
    "max": "Max Maximum",
    "min": "Min Minimum",
    "select": "Select SelectV2",
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "stop_gradient": "StopGradient",
    "relu": "Relu",
}  # fmt: skip
PADS = ("Pad", "PadV2", "SpaceToBatch", "SpaceToBatchND")
"""Operations that pad with a constant."""
_KINDS = {operation: kind for kind, names in _TABLE.items() for operation in names.split()}
KINKED = frozenset({*_TABLE["kinked"].split(), "Relu", "Maximum", "Minimum", "Select", "SelectV2"})
"""Operations whose derivative jumps somewhere."""
_OTHERS_VALUE_BY_VALUE = """Add AddV2 BiasAdd Cast EnsureShape Identity Maximum Minimum Neg Pow Snapshot
    SquaredDifference Sub"""
VALUE_BY_VALUE = frozenset(_OTHERS_VALUE_BY_VALUE.split()) | {
    name
    for name, kind in _KINDS.items()
    if kind in ("smooth", "kinked", "mul", "div", "select", "relu", "discrete") and not name.startswith("Arg")
}
"""Operations that work value by value where the shapes of their operands agree."""


def kind_of(operation: Any, data: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """Kind and parameters of a graph operation whose inputs ``data`` depend on the attributed input."""
    several, name = len(data) > 1, operation.type
    kind = _KINDS.get(name, "opaque")
    match kind:
        case "smooth" | "kinked":
            return "elementwise", {"kinked": kind == "kinked", "power": POWERS.get(name.lower())}
        case "max" | "min" if name in ("Maximum", "Minimum") and not several:
            is_relu = name == "Maximum" and _is_zero(operation.inputs[1 - data[0]])
            return ("relu" if is_relu else "elementwise"), {"kinked": True}
        case "mul" if not several:
            return "linear", {}
        case "conv" | "matmul":
            return (kind if several else "affine"), {"conv": kind == "conv", "bias": None}
        case "div" if not several:
            return ("linear" if list(data) == [0] else "elementwise"), {}
        case "softmax" | "log_softmax":
            return kind, {"axis": -1}
        case "opaque" if name == "FusedBatchNormV3" and not operation.get_attr("is_training"):
            return "linear", {}
        case "opaque" if name == "SquaredDifference" and several:
            return "mul", {}  # a square is a product with itself
        case "opaque" if name in ("Pow", "SquaredDifference"):
            return "elementwise", {}
        case "select" if 0 not in data:
            return "linear", {}
        case _:
            return kind, {}


def _is_zero(x: Any) -> bool:
    value = tf.get_static_value(x)
    return value is not None and not np.any(value)
