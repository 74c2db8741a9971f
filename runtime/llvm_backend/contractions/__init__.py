"""Kernels of contractions: matrix products, convolutions, attention, with what follows them.

To be read in this order: `contraction` (the algebra), `contraction_steps` and `fused_contraction` (what a
node is in it), `schedule` with `cuts` (roles of its dims, sizes of tiles), `widening` (which numbers become
words, so that kernels are shared), `kernel` (functions and arguments), `framing` and `facts` (what its parts
share), `driver` with `grid`, `packing` and `ahead` (the loops), `tile`, `microkernel`, `register_tile` (the
innermost ones). Attention is in `block_steps` and `block_kernel`, products of bytes and bfloat16 in `pairs`;
`reference` says in NumPy what all of them mean.
"""
