"""Kernels of fused rows: elementwise ops and reductions along rows and columns.

To be read in this order: `row_plan` (what a kernel does, before any text), `row_kernel` (its function and
arguments), `row_writer`, `row_loop` and `row_elements` (its text), `row_code` (its machine code),
`row_steps` (how it stands in a step table). The others are one idea each: long rows in `row_parts`, loops
that are one in `row_wave`, labels, columns, looks for NaN, what the CPU notes itself (`row_notes`).
"""
