"""Every error graphc raises on purpose, as one tree.

    GraphError
      ShapeError            (ValueError)       sizes, ranks or axes do not fit
      DTypeError            (TypeError)        dtypes do not fit
      ArgumentError         (ValueError)       an attribute of an op has no meaning
      GraphMismatchError    (ValueError)       tensors of different graphs, or out of their region
      UnknownNameError      (KeyError)         no tensor or variable of that name
      FeedError             (ValueError)       a fed value does not fit what is fed
      FetchError            (TypeError)        something that cannot be fetched
      UnknownFeedError, UnknownFetchError      a name that is fed or fetched: an UnknownNameError too
      ForeignFetchError                        a tensor of another graph or a body: a GraphMismatchError too
      StateError            (RuntimeError)     assignments that contradict one another
      UninitializedError    (RuntimeError)     a variable is read before it has a value
      SessionClosedError    (RuntimeError)
      IndexOutOfRangeError  (IndexError)       while running: an index
      DivisionError         (ZeroDivisionError) while running: an integer divided by zero
      CheckError            (AssertionError)   while running: `gc.check` failed
      NumericsError         (FloatingPointError) while running: NaN or Inf under check_numerics
      FormatError           (ValueError)       a text or a file that cannot be read
      VerificationError     (RuntimeError)     a graph breaks an invariant: a fault of graphc itself

A message has three parts: what is wrong; the operands with types and names; where each was made.
"""

from __future__ import annotations

from typing import Any


class GraphError(Exception):
    """The root of all errors graphc raises on purpose.

    Attributes:
        explained: whether it says already where it arose and on which operands.
        outermost: what its text begins with since functions of graphc called what raised it.
        differing: where sizes differed in the midst of a run, the check that told, and the sizes then.
    """

    explained = False
    outermost = ""
    differing: Any = None

    def __str__(self) -> str:  # KeyError would show the repr of a text of several lines
        return str(self.args[0]) if self.args else ""

    def extend(self, *lines: str) -> None:
        """Append `lines` to the message, indented, once more is known about the failure."""
        self.args = ("\n  ".join((str(self), *lines)), *self.args[1:])


class ShapeError(GraphError, ValueError):
    """Sizes, ranks or axes do not fit."""


class DTypeError(GraphError, TypeError):
    """Dtypes do not fit."""


class ArgumentError(GraphError, ValueError):
    """An argument of an op has no meaning."""


class GraphMismatchError(GraphError, ValueError):
    """Tensors of different graphs meet, or one is used outside the region it was made in."""


class NestingError(GraphError, RecursionError):
    """Bodies within bodies are deeper than Python lets the functions that define them call one another."""


class UnknownNameError(GraphError, KeyError):
    """No tensor or variable bears the name."""


class FeedError(GraphError, ValueError):
    """A fed value does not fit what is fed."""


class FetchError(GraphError, TypeError):
    """Something that cannot be fetched."""


class UnknownFeedError(FeedError, UnknownNameError):
    """No tensor or variable bears the name that is fed."""


class UnknownFetchError(FetchError, UnknownNameError):
    """No tensor or variable bears the name that is fetched."""


class ForeignFetchError(FetchError, GraphMismatchError):
    """What is fetched belongs to another graph, or to a body."""


class StateError(GraphError, RuntimeError):
    """Assignments that contradict one another."""


class UninitializedError(GraphError, RuntimeError):
    """A variable is read before it has a value."""


class SessionClosedError(GraphError, RuntimeError):
    """The session was closed."""


class IndexOutOfRangeError(GraphError, IndexError):
    """An index lies outside its axis."""


class DivisionError(GraphError, ZeroDivisionError):
    """An integer was divided by zero."""


class CheckError(GraphError, AssertionError):
    """A `gc.check` failed."""


class NumericsError(GraphError, FloatingPointError):
    """A NaN or an infinity appeared under ``check_numerics=True``."""


class FormatError(GraphError, ValueError):
    """A text or a file cannot be read."""


class VerificationError(GraphError, RuntimeError):
    """A graph breaks an invariant: a fault of graphc or of a rule, not of its user."""
