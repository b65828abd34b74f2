"""When memory runs out, chunks get smaller, unless the user named their size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import whence
from whence.core.backend import backend_named

MOST = 5
"""Rows for which the imitated device has memory."""


def check_chunks_get_smaller(framework: str, error: Exception) -> None:
    """``error`` is how the framework says that memory ran out."""
    ops = backend_named(framework).ops
    seen: list[int] = []

    def model(x: Any) -> Any:
        rows = ops.shape(x)[0]
        seen.append(rows)
        if rows > MOST:
            raise error
        return ops.tanh(x) * ops.sum(x, axis=1, keepdims=True)

    x = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    for method in (
        whence.Saliency(),
        whence.IntegratedGradients(n_steps=6),
        whence.SmoothGrad(n_samples=6),
        whence.KernelSHAP(),
        whence.RISE(n_samples=8, grid=3),
    ):
        wrapped = whence.wrap(model, framework=framework)
        found = method.explain(wrapped, x, 1)
        assert max(seen) > MOST and found.provenance.batch_size <= MOST
        in_time = method.explain(whence.wrap(model, framework=framework), x, 1, batch_size=4)
        assert np.allclose(found.attributions, in_time.attributions, rtol=1e-5, atol=1e-6)
        with pytest.raises(type(error)):
            method.explain(whence.wrap(model, framework=framework), x, 1, batch_size=6)
        seen.clear()
