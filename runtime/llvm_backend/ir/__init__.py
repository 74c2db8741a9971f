"""LLVM IR as text: functions, values, vectors, what every elementwise op is."""
