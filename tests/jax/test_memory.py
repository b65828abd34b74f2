"""Running out of memory, imitated by the framework's own error."""

import jax

from tests.memory import check_chunks_get_smaller


def test_chunks_get_smaller_when_memory_runs_out() -> None:
    check_chunks_get_smaller("jax", jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"))
