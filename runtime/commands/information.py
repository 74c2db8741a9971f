"""``graphc info``: what graphc finds on this machine."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version
from typing import Any

from runtime.backend import backends


def declare_info(commands: Any) -> None:
    """Adds ``info``."""
    parser = commands.add_parser("info", help="what graphc finds on this machine")
    parser.set_defaults(run=_info)


def _info(given: argparse.Namespace) -> None:
    del given
    for name, value in information().items():
        sys.stdout.write(f"{name:<14} {value}\n")


def information() -> dict[str, str]:
    """What a report of a fault should say of the machine: versions, CPU, vector width, cache folder."""
    from graphc import __version__  # the facade, which loads this room lazily
    from runtime.llvm_backend.engine.machine import describe_machine  # LLVM takes 20 ms to load

    return {
        "graphc": __version__,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "networkx": version("networkx"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        **describe_machine(),
        "backends": ", ".join(backends()),
    }
