"""Methods that take one table only: the same on every framework as for the same function on NumPy."""

from __future__ import annotations

import numpy as np

import whence
from whence.core.backend import backend_named
from whence.testing import nets
from whence.testing.check import expect_close

ROWS = np.random.default_rng(4).standard_normal((60, 6)).astype(np.float32)
METHODS: tuple[whence.Method, ...] = (
    whence.LIMETabular(data=ROWS, n_samples=80, n_features=4),
    whence.AnchorTabular(data=ROWS, n_check=60, max_size=2, n_samples=40),
    whence.AnchorText(n_check=60, max_size=2, n_samples=40),
    whence.AnchorImage(feature_mask=np.array([0, 0, 1, 2, 2, 3]), baseline="zeros", n_check=60, n_samples=40),
)


def agrees_with_numpy(method: whence.Method, framework: str) -> None:
    """Attributions, notes and features of a framework's model and of the same black box."""
    found = {}
    for name in ("numpy", framework):
        backend = backend_named(name)
        model = backend.adapt(nets.classifier(backend.ops, "float32", (6,)), None)
        found[name] = method.explain(model, backend.ops.asarray(ROWS[:2])).numpy()
    ours, theirs = found[framework], found["numpy"]
    expect_close(ours.attributions, theirs.attributions, 1e-5, "attributions")
    assert ours.top(3)[0][0].name == theirs.top(3)[0][0].name
    for name, note in theirs.provenance.notes.items():
        if name == "anchor":
            assert ours.provenance.notes[name] == note
        else:
            np.testing.assert_allclose(ours.provenance.notes[name], note, rtol=1e-4, atol=1e-6)
