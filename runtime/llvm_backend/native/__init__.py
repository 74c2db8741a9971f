"""Native programs: a whole program as one step table over one arena.

In the order in which a program goes through them: `entry` (can it be native?), `native_lowering` (the whole
of it), `drafts` and `native_steps` (what runs each step; then that as steps of the table), `native_regions`
and `native_loops` (bodies), `cells`, `arena` and `native_memory` (where values lie; what is computed of
sizes before the first step), `lowered` (what comes out), `native_program` (its runs). `template` and
`shelf` keep it for other processes.
"""
