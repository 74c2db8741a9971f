"""Building: ``python -m runtime.llvm_backend.table.building`` makes the objects that come with graphc.

They are made thoroughly, since no run waits for that, and for every CPU of x86-64.
"""

from __future__ import annotations

import os

from runtime.llvm_backend.engine import built, llvm
from runtime.llvm_backend.engine.objects import object_text
from runtime.llvm_backend.table import builtin, pool, steploop


def build() -> dict[str, bytes]:
    """The objects by key."""
    binding = llvm.binding()
    images = {}
    for part in (pool.CODE, steploop.CODE, builtin.CODE):
        module = part.module
        context = binding.create_context()
        parsed = binding.parse_assembly(object_text(module, module.built_key()), context)
        parsed.verify()
        target = binding.Target.from_triple("x86_64-unknown-linux-gnu")
        machine = target.create_target_machine(cpu=built.LEVEL, opt=llvm.THOROUGH, jit=True, **llvm.OPTIONS)
        images[module.built_key()] = machine.emit_object(parsed)
        parsed.close()
    return images


def main() -> None:
    """Makes the folder hold them and nothing else."""
    images = build()
    os.makedirs(built.FOLDER, exist_ok=True)
    for name in os.listdir(built.FOLDER):
        os.unlink(os.path.join(built.FOLDER, name))
    for key, image in images.items():
        with open(os.path.join(built.FOLDER, key + built.SUFFIX), "wb") as file:
            file.write(built.sealed(image))


if __name__ == "__main__":
    main()
