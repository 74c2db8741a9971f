"""HAPPEN: sessions that run programs, with NumPy or with machine code. Imports: passes, graphc, numpy, llvmlite."""
