"""Kernels that are neither rows nor contractions: indexing, movement, sorting, scans, draws."""
