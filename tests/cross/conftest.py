"""PyTorch is set up before TensorFlow, which else makes a later ``torch.compile`` abort the interpreter."""

import torch  # noqa: F401
