"""Readiness: loads what sessions on the default backend and their graphs need, all but LLVM's library.

To load it takes as long as to compile a small graph. It is loaded with graphc, so that no first run waits
for it (docs/decisions/0012). What sort of machine and interpreter this is, which files say, is found too.
"""

from __future__ import annotations

import graphc.initializers
import graphc.losses
import graphc.nn
import graphc.train  # noqa: F401  all of them for their effect
import runtime.llvm_backend.backend
import runtime.session  # noqa: F401  as above
from runtime.llvm_backend.engine import llvm, machine
from runtime.llvm_backend.table import engine

machine.own()
llvm.version()
engine.look_up()
