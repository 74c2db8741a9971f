"""LLVM IR as text: functions, values, vectors, what every elementwise op is.

To be read in this order: `text` (a module), `writer` (its lines), `values` and `lanes` (registers and
memory), `scalars` (the table of elementwise ops), `emissions`, `casts`, `integers` (what that table holds),
`divisors` (one number that many are divided by), `vecmath` (functions of real numbers),
`naked` and `assembly` (tiles in the instructions of x86-64).
"""
