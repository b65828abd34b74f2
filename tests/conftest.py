"""Every test begins at the same random state, whichever ran before it in its process."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _seeded() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)  # Python's, NumPy's and TensorFlow's with it
    elif "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)
