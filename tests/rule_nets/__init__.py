"""Small networks for backward rules, the same weights in every framework: one operation each, and a few whole models.

``OPERATIONS`` of ``torch_nets``, ``jax_nets`` and ``tensorflow_nets`` are functions of ``[B, 8]`` by the same names, as
a user would write them there; ``MODELS`` are functions of images ``[B, 8, 8, 3]`` or sequences ``[B, 6, 4]``.
"""
