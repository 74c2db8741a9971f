"""HAPPEN: sessions run programs, with NumPy or machine code. Imports passes, graphc, numpy, llvmlite."""
