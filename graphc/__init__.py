"""graphc: define a graph, then run it.

>>> import graphc as gc
>>> x = gc.placeholder("float32", (None, 2), name="x")
>>> w = gc.Variable([[1.0], [2.0]], name="w")
>>> with gc.Session() as session:
...     _ = session.run(gc.global_variables_initializer())
...     session.run(x @ w, {x: [[3.0, 4.0]]})
array([[11.]], dtype=float32)
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from graphc.collector import resting as _resting

with _resting(lasting=True):
    from graphc.custom import custom_gradient, py_func, register_py_func
    from graphc.derivatives import hessian, hessian_vector_product, jvp
    from graphc.errors import (
        ArgumentError,
        CheckError,
        DivisionError,
        DTypeError,
        FeedError,
        FetchError,
        FormatError,
        GraphError,
        GraphMismatchError,
        IndexOutOfRangeError,
        NestingError,
        NumericsError,
        SessionClosedError,
        ShapeError,
        StateError,
        UninitializedError,
        UnknownNameError,
        VerificationError,
    )
    from graphc.function import Function
    from graphc.graph import Graph, get_default_graph, reset_default_graph
    from graphc.loops import map_fn, scan, while_loop
    from graphc.ops import *  # noqa: F403  every op is a name that users type
    from graphc.scopes import control_dependencies, name_scope
    from graphc.tensor import Tensor
    from graphc.variable import Variable, assign, global_variables_initializer, trainable_variables

if TYPE_CHECKING:
    from graphc import initializers, losses, nn, random, train
    from graphc.files import load_graph, save_graph
    from graphc.text import parse, show, show_with_data
    from graphc.verification import verify
    from passes.networks import to_networkx
    from passes.optimization import optimize, record
    from runtime.backend import backends
    from runtime.checking import check_passes
    from runtime.dumping import dump
    from runtime.session import Session
    from runtime.slope_check import check_gradient

__version__ = "0.1.0"

# Loaded when first used: what itself imports this module's names, and the rooms above this one.
_ROOMS = ("nn", "losses", "train", "random", "initializers")
_LATER = {
    **dict.fromkeys(_ROOMS, ""),
    **dict.fromkeys(("load_graph", "save_graph"), "graphc.files"),
    **dict.fromkeys(("parse", "show", "show_with_data"), "graphc.text"),
    "dump": "runtime.dumping",
    "to_networkx": "passes.networks",
    "check_gradient": "runtime.slope_check",
    "check_passes": "runtime.checking",
    "verify": "graphc.verification",
    **dict.fromkeys(("optimize", "record"), "passes.optimization"),
    "backends": "runtime.backend",
    "Session": "runtime.session",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _LATER:
        rooms = () if name.startswith("_") else _ROOMS
        advice = "".join(f"; there is gc.{room}.{name}" for room in rooms if hasattr(__getattr__(room), name))
        module = sys.modules[__name__]  # with it Python suggests what has a name near to this one
        raise AttributeError(f"graphc has no {name!r}{advice}", name=name, obj=module)
    home = _LATER[name]
    found = getattr(import_module(home), name) if home else import_module(f"graphc.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


def _make_ready() -> None:
    """Loads what sessions need, where this process is about to run graphs, as far as an import can know.

    A room above that is on its way already is what imports this one: it loads what it needs, and cannot be
    imported before it is whole. So do the commands of ``python -m graphc``.
    """
    if not {"passes", "runtime"} & sys.modules.keys() and getattr(sys, "argv", [])[:1] != ["-m"]:
        import runtime.readiness


with _resting(lasting=True):
    _make_ready()
