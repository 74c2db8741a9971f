"""From LLVM text to functions of this process: the machine, object code, its cache, libraries."""
