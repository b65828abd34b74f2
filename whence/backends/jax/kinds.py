"""JAX's primitives by canonical kind, one table; what is not in it is opaque."""

from __future__ import annotations

_OF_KIND = {
    "smooth": """acos acosh asin asinh atan atanh cbrt cos cosh digamma erf erf_inv erfc exp exp2 expm1 integer_pow
        lgamma log log1p logistic rsqrt sin sinh sqrt square tan tanh""",
    "kinked": "abs ceil clamp floor round sign",
    "linear": """add add_any broadcast_in_dim concatenate convert_element_type copy copy_p cumsum device_put
        dynamic_slice dynamic_update_slice expand_dims gather name neg pad pvary real reduce_precision reduce_sum
        reduce_window_sum reshape rev scatter scatter-add sharding_constraint slice split squeeze sub tile transpose""",
    "discrete": "and argmax argmin eq ge gt is_finite le lt ne not or xor",
    "select": "select_n",
    "mul": "mul",
    "div": "div",
    "matmul": "dot_general",
    "conv": "conv_general_dilated",
    "max": "reduce_max max",
    "min": "reduce_min min",
    "max_pool": "reduce_window_max",
    "min_pool": "reduce_window_min",
    "stop_gradient": "stop_gradient",
    "call": "cond scan while custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr remat2 checkpoint",
}
KIND = {primitive: kind for kind, primitives in _OF_KIND.items() for primitive in primitives.split()}
KINKED = frozenset({*_OF_KIND["kinked"].split(), "max", "min", "select_n", "relu"})
"""Operations whose derivative jumps somewhere."""
PADS = ("pad",)
"""Operations that pad with a constant."""
_OTHERS_VALUE_BY_VALUE = """add add_any and atan2 convert_element_type copy copy_p elementwise eq ge gt is_finite le lt
    max min ne neg not or pow reduce_precision relu sub xor"""
VALUE_BY_VALUE = frozenset(_OTHERS_VALUE_BY_VALUE.split()) | {
    primitive for primitive, kind in KIND.items() if kind in ("smooth", "kinked", "mul", "div", "select")
}
"""Operations that work value by value where the shapes of their operands agree."""

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


def kind_of(primitive: str, data: tuple[int, ...], uniform: float | None) -> str:
    """The kind of an operation with inputs ``data`` on the path, another being filled with the number ``uniform``."""
    kind, several = KIND.get(primitive, "opaque"), len(data) > 1
    match kind:
        case "smooth" | "kinked":
            return "elementwise"
        case "max" | "min" if primitive in ("max", "min") and not several:
            return "relu" if primitive == "max" and uniform == 0 else "elementwise"
        case "mul" if not several:
            return "linear"
        case "matmul" | "conv" if not several:
            return "affine"
        case "div" if not several:
            return "linear" if data == (0,) else "elementwise"
        case "select" if 0 not in data:
            return "linear"
        case "min_pool":
            return "opaque"
        case "opaque" if primitive in ("pow", "atan2", "rem", "nextafter") and not several:
            return "elementwise"
        case _:
            return kind
