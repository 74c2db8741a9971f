"""Building: ``python -m runtime.llvm_backend.table.building`` makes the code that comes with graphc.

It is made thoroughly, since no run waits for that, and for every CPU of x86-64.
"""

from __future__ import annotations

import hashlib
import os

from runtime.llvm_backend.engine import built, llvm
from runtime.llvm_backend.engine.built import Built
from runtime.llvm_backend.engine.linking import link
from runtime.llvm_backend.engine.objects import Module
from runtime.llvm_backend.engine.parts import Part
from runtime.llvm_backend.table import builtin, pool, steploop

PARTS = (pool.CODE, steploop.CODE, builtin.CODE)


def hash_text(module: Module) -> str:
    """What tells the text of `module`, and what it hands out, from others."""
    return hashlib.sha256("\n".join((*module.functions, "", module.text)).encode()).hexdigest()


def is_current(part: Part) -> bool:
    """Whether `part` is built of its text as it is now; also where nothing is built for this system."""
    found = built.find(part.name)
    return found is None or found.text == hash_text(part.module)


def build() -> dict[str, Built]:
    """The parts by name."""
    binding = llvm.binding()
    target = binding.Target.from_triple("x86_64-unknown-linux-gnu")
    parts = {}
    for part in PARTS:
        parsed = binding.parse_assembly(part.module.text, binding.create_context())
        parsed.verify()
        machine = target.create_target_machine(cpu=built.LEVEL, opt=llvm.THOROUGH, jit=True, **llvm.OPTIONS)
        parts[part.name] = Built(hash_text(part.module), link([machine.emit_object(parsed)]))
        parsed.close()
    return parts


def main() -> None:
    """Writes the file of this system."""
    parts = build()
    os.makedirs(built.FOLDER, exist_ok=True)
    with open(os.path.join(built.FOLDER, built.file_name()), "wb") as file:
        file.write(built.pack(parts))


if __name__ == "__main__":
    main()
