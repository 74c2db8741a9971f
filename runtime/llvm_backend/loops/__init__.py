"""Kernels that are neither rows nor contractions: indexing, movement, sorting, scans, draws.

To be read in this order: `loop_kernel` (a function of a block of words and a chunk), `loop_steps` (which op
has which), then any of the families, whose names end in ``_steps``.
"""
