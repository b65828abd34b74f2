"""NumPy arrays as JAX arrays of exactly the dtype asked for."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray


def to_jax(array: NDArray[np.float64], dtype: str) -> jax.Array:
    """The array in `dtype`; an error where JAX would make float64 into float32."""
    if dtype == "float64" and not jax.config.jax_enable_x64:
        raise RuntimeError("float64 needs JAX_ENABLE_X64=1 in the environment")
    return jnp.asarray(array, dtype)
