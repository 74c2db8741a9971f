"""Op: what one operation means, in one place: schema, type rule, NumPy meaning, gradient, examples.

    @op("elementwise")
    def exp(x: Tensor) -> TensorType:
        \"\"\"``e ** x``.\"\"\"
        return x.result                             # the body is the type rule

    exp.evaluate(np.exp)                            # what it means
    exp.gradient(lambda g, out, x: (g * out,))      # how it slopes
    exp.example("f64[4]")                           # how it is tested

Parameters annotated ``Tensor`` are operands, the others attributes. Attributes annotated ``Axis``,
``Axes``, ``Permutation``, ``NewAxis``, ``Shape`` or ``DType`` are brought to one spelling before the
type rule sees them.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from graphc import sizes
from graphc.attributes import CONVERTERS, Converter, unless_none
from graphc.errors import DTypeError, GraphError
from graphc.explanation import explain, require_flag, tell_operands
from graphc.freezing import frozen
from graphc.location import Location, here
from graphc.suggestion import call_of, suggest
from graphc.tensor import Tensor
from graphc.types import DType, TensorType, TupleType, Type

TypeRule = Callable[..., Type]
GradientRule = Callable[..., Sequence[Tensor | None]]
BodyInputs = Callable[..., Mapping[str, Sequence[Type]]]

OPS: dict[str, Op] = {}
NO_ATTRS: Mapping[str, Any] = MappingProxyType({})
_REQUIRED = object()
_TRIAL_RANKS = range(7)


@frozen
class Example:
    """Operands (types, or arrays where their values matter) and attributes: one case that buys the checks.

    `domain` is the range that random operands are drawn from. `smooth` says whether gradients are
    compared with finite differences.
    """

    operands: tuple[Any, ...]
    attrs: Mapping[str, Any]
    domain: tuple[float, float]
    smooth: bool


class Op:
    """One operation. Calling it makes a node; the decorator `op` makes one from its type rule."""

    def __init__(
        self,
        rule: TypeRule,
        family: str,
        promotes: bool | tuple[str, ...] | None,
        nondifferentiable: tuple[str, ...],
        effect: bool,
        fallible: bool,
        binds: bool,
    ) -> None:
        self.name = rule.__name__.strip("_")
        self.family = family
        self.rule = rule
        self.effect = effect  # running it is seen from outside; never dropped, merged or moved
        self.fallible = fallible  # it may fail at the run, so it is never run speculatively
        self.binds = binds  # its result binds the sizes in its own `shape`, as for nonzero
        self.has_bodies = False
        self.body_inputs: BodyInputs | None = None
        self.gradient_rule: GradientRule | None = None
        self.gradient_stated = False
        self.meaning: Callable[..., Any] | None = None
        self.examples: list[Example] = []
        self.__doc__ = rule.__doc__
        self.__name__ = self.__qualname__ = self.name
        self.__module__ = rule.__module__
        self.__wrapped__ = rule
        operands: list[str] = []
        self.variadic = False
        self.defaults: dict[str, Any] = {}
        self.flags: list[str] = []
        self.converters: list[tuple[str, Converter]] = []
        for parameter in inspect.signature(rule).parameters.values():
            annotation = parameter.annotation
            if annotation is Tensor or str(annotation).rpartition(".")[2] == "Tensor":  # also gc.Tensor
                operands.append(parameter.name)
                self.variadic |= parameter.kind is parameter.VAR_POSITIONAL
                continue
            default = parameter.default
            self.defaults[parameter.name] = _REQUIRED if default is parameter.empty else default
            kind, _, optional = str(annotation).partition(" | ")
            if annotation in ("bool", bool):
                self.flags.append(parameter.name)
            self.has_bodies |= kind == "Function"
            if kind in CONVERTERS:
                convert = CONVERTERS[kind]
                self.converters.append((parameter.name, unless_none(convert) if optional else convert))
        self.operands = tuple(operands)
        self._most = math.inf if self.variadic else len(operands) + len(self.defaults)
        if promotes is None:
            promotes = family == "elementwise"
        self.promotes = self.operands if promotes is True else promotes or ()
        self.nondifferentiable = frozenset(operands.index(name) for name in nondifferentiable)

    def __repr__(self) -> str:
        return f"<graphc op {self._spelled()}>"  # which is what help() begins with

    def __reduce__(self) -> str:
        return f"OPS[{self.name!r}]"

    @property
    def __signature__(self) -> inspect.Signature:
        """How it is called: the parameters of its type rule, and a name for the result."""
        own = inspect.signature(self.rule)
        parameters = list(own.parameters.values())
        if "name" not in own.parameters:
            last = parameters[-1].kind if parameters else inspect.Parameter.KEYWORD_ONLY
            kind = max(last, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            kind = inspect.Parameter.KEYWORD_ONLY if kind is inspect.Parameter.VAR_POSITIONAL else kind
            named = inspect.Parameter("name", kind, default=None, annotation="str | None")
            parameters.append(named)
        return own.replace(parameters=parameters, return_annotation="Tensor")

    # Making nodes.

    def __call__(self, *args: Any, name: str | None = None, **kwargs: Any) -> Tensor:
        """Make a node, in the current graph, on the caller's line.

        Operands may be tensors, variables, arrays, lists or numbers; `name` names the result.
        """
        if name is not None and "name" in self.defaults:  # a source, whose name is an attribute
            kwargs["name"], name = name, None
        if len(args) == self._most + 1 and name is None and isinstance(args[-1], str):
            *args, name = args  # type: ignore[assignment]  # a list does as well
        values, attrs = self._bind(args, kwargs)
        location = here()
        as_operands, enter = _makers()
        try:
            for flag in self.flags:
                require_flag(flag, attrs[flag])
            inputs, type = as_operands(self, values, location), None
            if not self.binds and self._has_unranked(inputs):
                inputs, type = self._stated(inputs, attrs)
            return enter(self, inputs, attrs, name, location, type)
        except GraphError as error:
            explain(error, self.name, location, tell_operands(self.labelled(values)))
            raise

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments, split into operands and attributes."""
        if self.variadic:
            values, extra = args, ()
        else:
            count = len(self.operands)
            values, extra = args[:count], args[count:]
            if len(values) < count:
                try:
                    values += tuple(kwargs.pop(name) for name in self.operands[len(values) :])
                except KeyError as missing:
                    raise TypeError(f"{self.name}() misses its operand {missing}: {self._call()}") from None
        if not (self.defaults or kwargs or extra):
            return values, {}
        attrs = dict(self.defaults)
        if len(extra) > len(attrs):
            most = len(self.operands) + len(attrs)
            raise TypeError(f"{self.name}() takes {most} at most, not {len(args)}: {self._call()}")
        attrs.update(zip(attrs, extra, strict=False))
        for key, value in kwargs.items():
            if key not in attrs:
                near = suggest(key, attrs)
                raise TypeError(f"{self.name}() has no argument {key!r}: {self._call()}{near}")
            attrs[key] = value
        for key, value in attrs.items():
            if value is _REQUIRED:
                raise TypeError(f"{self.name}() misses its argument {key!r}: {self._call()}")
        return values, attrs

    def labelled(self, values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        """Operands with what messages call them."""
        labels = [f"operand {i}" for i in range(len(values))] if self.variadic else self.operands
        return zip(labels, values, strict=False)

    def _call(self) -> str:
        return f"it is {self._spelled()}"

    def _spelled(self) -> str:
        return call_of(self.rule).lstrip("_")

    def canonical(self, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any]) -> Mapping[str, Any]:
        """`attrs` in their one spelling, as far as the operands' ranks are known."""
        if not attrs:
            return NO_ATTRS
        if not self.converters:
            return attrs
        first = inputs[0].type if inputs else None
        operand = first if isinstance(first, TensorType) else None
        return {
            **attrs,
            **{key: convert(attrs[key], operand) for key, convert in self.converters},
        }

    def infer(self, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> Type:
        """The type of the result, by the type rule; also where an operand's rank is unknown.

        There the rule is tried on every rank (of up to three operands: on every choice of ranks; of more:
        on equal ones), and what all the ranks that it accepts agree on is known.
        """
        if not self._has_unranked(inputs):
            return self.rule(*inputs, **attrs)
        return _agreement([result for _, result in self._trials(inputs, attrs)])

    def _has_unranked(self, inputs: Sequence[Any]) -> bool:
        """Whether what the type rule says depends on a rank that is unknown."""
        if self.family == "elementwise":
            return False
        for operand in inputs:
            if operand.type.__class__ is not TupleType and operand.type.shape is None:
                return True
        return False

    def require_one_dtype(self, inputs: Sequence[Tensor]) -> None:
        """Raises DTypeError where operands that a call brings to one dtype are of several, as in a text."""
        found = {
            x.dtype: None
            for x, name in zip(inputs, self.operands * len(inputs), strict=False)
            if name in self.promotes and isinstance(x.type, TensorType)
        }
        if len(found) > 1:
            raise DTypeError(f"operands of one dtype are wanted, not of {' and '.join(map(str, found))}")

    def _trials(
        self, inputs: Sequence[Any], attrs: Mapping[str, Any]
    ) -> list[tuple[Mapping[int, int], Type]]:
        """Ranks that the rule accepts for operands of unknown rank, by identity, and what it makes of them.

        Raises: GraphError where it accepts none.
        """
        found: list[tuple[Mapping[int, int], Type]] = []
        failure = None
        unranked = dict.fromkeys(
            id(i) for i in inputs if i.type.__class__ is TensorType and i.type.shape is None
        )
        free = len(unranked) if len(unranked) <= 3 else 1
        for ranks in itertools.product(_TRIAL_RANKS, repeat=free):
            rank_of = dict(zip(unranked, itertools.cycle(ranks), strict=False))
            trial = [_of_rank(i, rank_of.get(id(i), 0)) for i in inputs]
            try:
                found.append((rank_of, self.rule(*trial, **self.canonical(tuple(trial), attrs))))
            except GraphError as error:
                failure = failure or error
        if not found:
            assert failure is not None
            raise failure
        return found

    def _stated(
        self, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any]
    ) -> tuple[tuple[Tensor, ...], Type | None]:
        """`inputs`, those of unknown rank of which only one is accepted stated to have that rank.

        So the sizes of the result are those that the operand has at the run. Where none is stated it comes
        with the type of the result, as the trials have it.
        """
        trials = self._trials(inputs, attrs)
        accepted = [ranks for ranks, _ in trials]
        state_rank, stated = OPS["state_rank"], dict[Tensor, Tensor]()
        for operand in inputs:
            ranks = {each[id(operand)] for each in accepted if id(operand) in each}
            if len(ranks) == 1:
                stated[operand] = state_rank(operand, shape=(None,) * ranks.pop())
        if not stated:
            return inputs, _agreement([result for _, result in trials])
        return tuple([stated.get(operand, operand) for operand in inputs]), None

    def make(
        self,
        inputs: tuple[Tensor, ...],
        attrs: Mapping[str, Any] = NO_ATTRS,
        name: str | None = None,
        loc: Location | None = None,
    ) -> Tensor:
        """A node outside any graph's registry: how passes and the parser build."""
        attrs = self.canonical(inputs, attrs)
        owner = inputs[0].owner if inputs else None
        return Tensor(self, inputs, attrs, self.infer(inputs, attrs), loc, name, owner)

    # Declaring what it means.

    def evaluate(self, meaning: Callable[..., Any]) -> Callable[..., Any]:
        """Declares the NumPy meaning: ``meaning(*arrays, **attrs)``, sizes in `attrs` being numbers."""
        self.meaning = meaning
        return meaning

    def gradient(self, rule: GradientRule | None) -> GradientRule | None:
        """Declares ``rule(g, out, *inputs, **attrs)``: a cotangent, or None, for each operand.

        `g` has the type of `out` (for several results: a tuple with None where nothing comes back).
        Cotangents may have the broadcast shape: the sweep sums them down. None states that there is
        no gradient.
        """
        self.gradient_rule, self.gradient_stated = rule, True
        return rule

    def feeds_bodies(self, types: BodyInputs) -> None:
        """Declares ``types(*inputs, **attrs)``: what each body's inputs are, by attribute name."""
        self.body_inputs = types

    def example(
        self,
        *operands: Any,
        domain: tuple[float, float] = (-2.0, 2.0),
        smooth: bool = True,
        **attrs: Any,
    ) -> None:
        """Declares a tested call; operands are types such as ``"f64[3,4]"``, or arrays."""
        self.examples.append(Example(operands, attrs, domain, smooth))


@cache
def _makers() -> tuple[Callable[..., tuple[Tensor, ...]], Callable[..., Tensor]]:
    from graphc.conversion import as_operands  # conversion makes nodes, so it knows Op
    from graphc.graph import enter

    return as_operands, enter


def op(
    family: str,
    *,
    promotes: bool | tuple[str, ...] | None = None,
    nondifferentiable: tuple[str, ...] = (),
    effect: bool = False,
    fallible: bool = False,
    binds: bool = False,
) -> Callable[[TypeRule], Op]:
    """Makes an `Op` of `family` from its type rule and registers it.

    `promotes` names the operands that are brought to one dtype (True: all; by default those of an
    elementwise op). `nondifferentiable` names operands that no gradient flows to. `effect`: running
    it is seen from outside. `fallible`: it may fail at the run. `binds`: its result binds the unknown
    sizes of its attribute `shape`.
    """

    def declare(rule: TypeRule) -> Op:
        made = Op(rule, family, promotes, nondifferentiable, effect, fallible, binds)
        if made.name in OPS:
            raise ValueError(f"two ops are named {made.name}")
        OPS[made.name] = made
        return made

    return declare


@frozen
class _Trial:
    """Stands for an operand of unknown rank while a rule is tried on one rank."""

    type: TensorType
    attrs: Mapping[str, Any]

    @property
    def result(self) -> TensorType:
        return self.type

    @property
    def dtype(self) -> DType:
        return self.type.dtype


def _of_rank(operand: Any, rank: int) -> Any:
    if isinstance(operand.type, TupleType) or operand.type.shape is not None:
        return operand
    shape = tuple(sizes.unknown() for _ in range(rank))
    return _Trial(TensorType(operand.type.dtype, shape), operand.attrs)


def _agreement(results: list[Type]) -> Type:
    first = results[0]
    if isinstance(first, TupleType):
        rows = [result.elements for result in results if isinstance(result, TupleType)]
        return TupleType(tuple(_common(list(column)) for column in zip(*rows, strict=True)))
    return _common([result for result in results if isinstance(result, TensorType)])


def _common(results: list[TensorType]) -> TensorType:
    first = results[0]
    return first if all(r == first for r in results) else TensorType(first.dtype, None)
