"""Kernels of contractions: matrix products, convolutions, attention, with what follows them."""
