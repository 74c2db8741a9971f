"""Programs as data: the step table, the loop that walks it, the call from Python, threads.

To be read in this order: `steptable` (what a step is, and the words of a run), `steploop` (the native
loop), `call`, `callcode`, `arraycode` and `builtin` (from
arrays to words and back), `pool` and `forkjoin` (parallel steps), `scratch`, `joints`, `polling`, `clocks`,
`blockpool`; `engine` says which of these are compiled.
"""
