"""What a user calls to see the passes at work: `optimize`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc import nesting
from graphc.function import Function, topological
from graphc.graph import Graph
from graphc.ops.source import _placeholder as placeholder
from graphc.text import as_fetch, as_function
from passes.history import record_of
from passes.pipeline import Request, prepare
from passes.running import AfterEach, Pass, choose_pipeline, choose_verify
from passes.target import Target


def optimize(
    fetches: Any,
    after_each: AfterEach | None = None,
    verify: bool | None = None,
    pipeline: Sequence[Pass] | None = None,
) -> Function:
    """The function that a session would run for `fetches`, fed at every placeholder that they reach.

    Args:
        fetches: any nesting of tensors, operations, variables and names; or a Function or a Graph.
        after_each: called as ``after_each(name, function)`` after every stage.
        verify: whether the result of every pass is verified; None is what GRAPHC_VERIFY says.
        pipeline: the passes to run in place of `passes.pipeline.PIPELINE`.

    Raises: what a pass raises, with a note that names it; VerificationError.
    """
    target = Target(pipeline=choose_pipeline(pipeline), verify=choose_verify(verify))
    return prepare(as_request(fetches), target, after_each).function


def record(fetches: Any, pipeline: Sequence[Pass] | None = None) -> dict[str, Any]:
    """What the passes make of `fetches`, stage by stage, as data for JSON; see `passes.history`.

    Args:
        fetches: any nesting of tensors, operations, variables and names; or a Function or a Graph.
        pipeline: the passes to run in place of `passes.pipeline.PIPELINE`.

    Raises: what a pass raises, with a note that names it.
    """
    return record_of(as_request(fetches), Target(pipeline=choose_pipeline(pipeline)))


def as_request(fetches: Any) -> Request:
    """What asks for `fetches`, a nesting, a Function or a Graph, fed at all placeholders that they reach."""
    if isinstance(fetches, Function | Graph):
        function = as_function(fetches)
        outputs, inputs = (*function.outputs, *function.effects), function.inputs
    else:
        outputs = tuple(as_fetch(leaf) for leaf in nesting.flatten(fetches))
        inputs = ()
    reached = [node for node in topological(outputs) if node.op is placeholder]
    feeds = tuple(dict.fromkeys((*inputs, *reached)))
    return Request(outputs, feeds)
