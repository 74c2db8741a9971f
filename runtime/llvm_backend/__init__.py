"""Machine code through LLVM. Imported only when a session asks for it."""
