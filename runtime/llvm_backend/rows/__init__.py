"""Kernels of fused rows: elementwise ops and reductions along rows.

To be read in this order: `row_plan` (what a kernel does, before any text), `row_kernel` (its function and
arguments); its text: `row_loop` (loops), `row_frame`, `row_arrays` and `row_elements` (what they compute of),
`row_writer` (the function); `row_code` (its machine code), `row_steps` (how it stands in a step table). The
others are one idea each: the order of loops in `row_order`, long rows in `row_parts`, loops that are one in
`row_wave`, labels, where one looks for NaN (`numerics`), what the CPU
notes itself (`row_notes`).
"""
