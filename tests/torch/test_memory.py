"""Running out of memory, imitated by the framework's own error."""

import torch

from tests.memory import check_chunks_get_smaller


def test_chunks_get_smaller_when_memory_runs_out() -> None:
    check_chunks_get_smaller("torch", torch.OutOfMemoryError("CUDA out of memory"))
