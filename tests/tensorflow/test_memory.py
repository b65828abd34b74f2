"""Running out of memory, imitated by the framework's own error."""

import tensorflow as tf

from tests.memory import check_chunks_get_smaller


def test_chunks_get_smaller_when_memory_runs_out() -> None:
    check_chunks_get_smaller("tensorflow", tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
