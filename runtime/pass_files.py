"""Pass files: what each pass made of a function, as text in the folder that GRAPHC_DUMP names."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace

from graphc.atomic import write_atomically
from graphc.errors import ArgumentError
from graphc.function import Function

_serial = itertools.count()


def dumper() -> Callable[[str, Function], None] | None:
    """What writes ``<process>-<executable>-<number>-<pass>.gir`` files; None where nothing is asked for.

    Raises: ArgumentError where GRAPHC_DUMP names no folder and none can be made.
    """
    folder = os.environ.get("GRAPHC_DUMP")
    if not folder:
        return None
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"GRAPHC_DUMP names a folder, and {folder!r} is none: {error.strerror}"
        ) from error
    begin = f"{os.getpid()}-{next(_serial):03d}"
    numbers = itertools.count()
    last: list[Function] = []

    def dump(name: str, function: Function) -> None:
        from graphc.files import write_text  # only needed where texts are asked for
        from graphc.text import show

        if last and last[0] is function:
            return
        last[:] = [function]
        path = os.path.join(folder, f"{begin}-{next(numbers):02d}-{name}.gir")
        text = show(_with_placeholders(function))
        write_atomically(path, lambda file: write_text(file, text), durable=False)

    return dump


def _with_placeholders(function: Function) -> Function:
    """`function`, placeholders that are no inputs yet being inputs, as a text that parses has them."""
    loose = [n for n in function.nodes() if n.op.name == "placeholder" and n not in function.inputs]
    return replace(function, inputs=(*function.inputs, *loose)) if loose else function
