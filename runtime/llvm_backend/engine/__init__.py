"""From LLVM text to functions of this process: the machine, object code, its cache, libraries.

To be read in this order: `objects` (text becomes object code, once), `compiler` and `llvm` (who makes it),
`cache`, `library` (modules as functions), `linking`, `mapping` and `jitlink` (how objects get there),
`machine` (the CPU), `parts` (code that all programs need), `postponement` (what nobody waits for).
"""
