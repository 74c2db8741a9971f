"""Programs as data: the step table, the loop that walks it, the call from Python, threads."""
