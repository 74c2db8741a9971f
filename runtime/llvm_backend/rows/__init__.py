"""Kernels of fused rows: elementwise ops and reductions along rows and columns."""
