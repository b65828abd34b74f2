"""The canonical kind of each TensorFlow operation; what is not in the table is opaque."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_TABLE: Mapping[str, str] = {
    "elementwise": """Abs Acos Acosh Asin Asinh Atan Atanh Cos Cosh Digamma Elu Erf Erfc Exp Expm1 Inv LeakyRelu Lgamma
        Log Log1p Ndtri Reciprocal Relu6 Rsqrt Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Square Tan Tanh""",
    "linear": """Add AddN AddV2 AvgPool AvgPool3D BatchToSpace BatchToSpaceND BiasAdd BroadcastTo Cast Concat ConcatV2
        Cumsum DepthToSpace EnsureShape ExpandDims FusedBatchNormV3 Gather GatherNd GatherV2 Identity IdentityN
        ImageProjectiveTransformV3 MatrixDiag MatrixDiagV3 MatrixDiagPartV3 Mean MirrorPad Neg Pack Pad PadV2
        PlaceholderWithDefault Reshape ResizeBicubic ResizeBilinear ResizeNearestNeighbor Reverse ReverseV2 Roll
        ScatterNd Slice Snapshot SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV Squeeze StridedSlice Sub Sum
        TensorListFromTensor TensorListGetItem TensorListSetItem TensorListStack TensorListConcatV2 TensorListGather
        TensorListPushBack TensorListPopBack TensorScatterAdd TensorScatterUpdate Tile Transpose Unpack ZerosLike""",
    "conv": "Conv2D Conv3D DepthwiseConv2dNative Conv2DBackpropInput Conv3DBackpropInputV2",
    "matmul": "MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum",
    "max_pool": "MaxPool MaxPoolV2 MaxPool3D",
    "max": "Max Min",
    "select": "Select SelectV2",
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "stop_gradient": "StopGradient",
    "relu": "Relu",
}  # fmt: skip
_KINDS = {operation: kind for kind, names in _TABLE.items() for operation in names.split()}


def kind_of(operation: Any, data: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """Kind and parameters of a graph operation whose inputs ``data`` depend on the attributed input."""
    several = len(data) > 1
    match operation.type:
        case "Maximum" | "Minimum" if several:
            return "max", {}
        case "Maximum" if _is_zero(operation.inputs[1 - data[0]]):
            return "relu", {}
        case "Maximum" | "Minimum":
            return "elementwise", {}
        case "Mul" | "MulNoNan":
            return ("mul" if several else "linear"), {}
        case "RealDiv" | "Div" | "DivNoNan":
            return ("linear" if list(data) == [0] else "div"), {}
        case "Pow" | "SquaredDifference" if not several:
            return "elementwise", {}
        case name:
            return _KINDS.get(name, "opaque"), {}


def _is_zero(x: Any) -> bool:
    value = tf.get_static_value(x)
    return value is not None and not np.any(value)
