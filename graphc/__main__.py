"""The command line: ``python -m graphc COMMAND``, see `runtime.commands`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status, 1 where a GraphError ended it."""
    from runtime.commands import main as run_command  # the facade reaches up only when it is called

    return run_command(arguments)


if __name__ == "__main__":
    sys.exit(main())
