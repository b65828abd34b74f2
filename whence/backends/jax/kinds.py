"""JAX's primitives by canonical kind, one table; what is not in it is opaque."""

from __future__ import annotations

_OF_KIND = {
    "elementwise": """abs acos acosh asin asinh atan atanh cbrt ceil clamp cos cosh digamma erf erf_inv erfc exp exp2
        expm1 floor integer_pow lgamma log log1p logistic round rsqrt sign sin sinh sqrt square tan tanh""",
    "linear": """add add_any broadcast_in_dim concatenate convert_element_type copy copy_p cumsum device_put
        dynamic_slice dynamic_update_slice expand_dims gather name neg pad pvary real reduce_precision reduce_sum
        reduce_window_sum reshape rev scatter scatter-add sharding_constraint slice split squeeze sub transpose""",
    "select": "select_n",
    "mul": "mul",
    "div": "div",
    "matmul": "dot_general",
    "conv": "conv_general_dilated",
    "max": "argmax argmin reduce_max reduce_min",
    "max_pool": "reduce_window_max reduce_window_min",
    "stop_gradient": "stop_gradient",
    "call": "cond scan while custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr remat2 checkpoint",
}
KIND = {primitive: kind for kind, primitives in _OF_KIND.items() for primitive in primitives.split()}

INLINED = frozenset({"jit", "pjit", "closed_call", "core_call", "custom_vmap_call"})
"""Calls without a derivative of their own."""
RECOMPUTED = frozenset({"remat2", "checkpoint", "remat"})
"""Calls that are run again on the way back, to save memory."""
BOUNDARIES = RECOMPUTED | {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
"""Calls that stay whole, with their own derivative or recomputation, unless an operation inside has a rule."""
BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")
"""Where the parameters of a call keep its body."""
UNIFORM = frozenset({"broadcast_in_dim", "convert_element_type", "reshape", "squeeze", "expand_dims", "copy", "copy_p"})
"""Operations that keep a constant filled with one number that number."""


def kind_of(primitive: str, data: int, uniform: float | None) -> str:
    """The kind of an operation with ``data`` inputs on the path, another being filled with the number ``uniform``."""
    if primitive in ("max", "min", "pow", "atan2", "rem", "nextafter"):
        if data != 1:
            return "opaque"
        return "relu" if primitive == "max" and uniform == 0 else "elementwise"
    return KIND.get(primitive, "opaque")
