"""Optimizer: from a loss to gradients, and from gradients to one operation that updates variables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from graphc import ops, sizes
from graphc.conversion import as_tensor
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.explanation import explains
from graphc.graph import Graph, check_name, current
from graphc.tensor import Tensor, describe
from graphc.types import FLOAT32, INT64, DType, promote
from graphc.variable import Variable

Pairs = Iterable[tuple[Any, Variable]]

COUNT = "count"  # the slot that numbers the updates: one int64 for all variables first updated together


class Optimizer(ABC):
    """Updates variables against a gradient. A subclass is one published rule, in `update`.

    What a rule remembers of a variable ``w`` (its slots) are variables named ``w/Adam/m``, made once for
    each optimizer and variable, so they are initialised, saved and restored like any other. They have
    the shape and dtype of the variable; those of float16 and bfloat16 variables, and the arithmetic on
    them, are float32, since a moving average of small numbers stands still in 8 or 11 bits.

    The slot ``"count"`` numbers the updates. Variables whose first update stands in one `apply_gradients`
    share theirs, named ``Adam/count``, and each operation that updates some of them counts it up once.

    Args:
        lr: the learning rate, a number or a scalar tensor (such as a schedule), read at every run.
        name: the middle of the names of slots; None is the name of the class.

    Raises: ArgumentError for a learning rate that is negative or no number.
    """

    def __init__(self, lr: Any, name: str | None = None) -> None:
        self.lr = check_rate("lr", lr)
        if name is not None:
            check_name(name)
        self.name = name or type(self).__name__
        self._slots: dict[tuple[Variable, str], Variable] = {}

    @abstractmethod
    def update(
        self, p: Tensor, g: Tensor, slots: Mapping[str, Tensor]
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The new value of a variable and of its slots, from its value `p`, gradient `g` and old slots.

        The slot ``"count"`` comes counted up: it is 1 in the first update; its new value is not asked
        for. Among the slots are also the `factors` of this count and the dtype of `p`.
        """

    def slots(self) -> Mapping[str, float]:
        """What the rule remembers of a variable: for each slot, the number that fills it at first."""
        return {}

    def factors(self, count: Tensor, dtype: DType) -> Mapping[str, Tensor]:
        """Numbers that the updates of all variables of one `dtype` use alike, made once for all of them.

        `count` numbers the update; only a rule with that slot is asked.
        """
        return {}

    def rate(self, dtype: DType) -> Tensor:
        """The learning rate as a scalar of `dtype`."""
        return as_tensor(self.lr, dtype)

    @explains
    def minimize(
        self, loss: Any, var_list: Any = None, global_step: Any = None, name: str | None = None
    ) -> Tensor:
        """An operation that takes one step down the gradient of `loss`.

        Args:
            loss: a float tensor; one that is not scalar counts by its sum.
            var_list: the variables to update; None is every trainable variable of the graph.
            global_step: an integer variable that each step counts up.
            name: of the operation.

        Variables that `loss` does not depend on are left alone.

        Raises: ArgumentError where it depends on none, and for what is no variable; DTypeError for a
        loss that is not float.
        """
        pairs = _gradients(loss, var_list)
        if all(gradient is None for gradient, _ in pairs):
            names = ", ".join(repr(variable.name) for _, variable in pairs)
            what = loss.describe() if isinstance(loss, Variable) else describe(loss)
            raise ArgumentError(f"{what} has a gradient towards none of the variables {names}")
        return self.apply_gradients(pairs, global_step, name)

    @explains
    def compute_gradients(self, loss: Any, var_list: Any = None) -> list[tuple[Tensor | None, Variable]]:
        """``(gradient, variable)`` for each variable; None where `loss` does not depend on it.

        Arguments and errors are those of `minimize`. The gradients may be changed before
        `apply_gradients`, by clipping for instance.
        """
        return _gradients(loss, var_list)

    @explains
    def apply_gradients(
        self, grads_and_vars: Pairs, global_step: Any = None, name: str | None = None
    ) -> Tensor:
        """An operation that updates each variable by its gradient; pairs with None are skipped.

        Every variable and slot takes its new value when the run ends well, all together.

        Raises: ArgumentError for no gradient at all, a variable given twice, what is no variable;
        ShapeError, DTypeError where a gradient does not fit its variable.
        """
        pairs = _checked_pairs(grads_and_vars)
        if global_step is not None:
            _check_step(global_step)
        with _inside(pairs[0][1].graph):
            assignments = self._assignments([(_fitted(g, variable), variable) for g, variable in pairs])
            if global_step is not None:
                assignments.append(global_step.assign_add(1))
            return ops.group(*assignments, name=name)

    def get_slot(self, variable: Variable, slot: str) -> Variable | None:
        """The variable that holds `slot` of `variable`; None before its first `apply_gradients`."""
        return self._slots.get((variable, slot))

    def variables(self) -> list[Variable]:
        """All slots made so far."""
        return list(dict.fromkeys(self._slots.values()))

    def _assignments(self, pairs: list[tuple[Tensor, Variable]]) -> list[Tensor]:
        counts = self._counts([variable for _, variable in pairs]) if COUNT in self.slots() else {}
        factors: dict[tuple[Tensor, DType], Mapping[str, Tensor]] = {}
        assignments = []
        for gradient, variable in pairs:
            names = (name for name in self.slots() if name != COUNT)
            held = {name: self._slot(variable, name) for name in names}
            dtype = _state_dtype(variable)
            old: dict[str, Tensor] = {name: slot.value() for name, slot in held.items()}
            if counts:
                count = counts[self._slots[variable, COUNT]]
                if (count, dtype) not in factors:
                    factors[count, dtype] = self.factors(count, dtype)
                old |= {**factors[count, dtype], COUNT: count}
            new, remembered = self.update(as_tensor(variable, dtype), as_tensor(gradient, dtype), old)
            assignments.append(variable.assign(as_tensor(new, variable.dtype)))
            assignments += (
                slot.assign(remembered[name]) for name, slot in held.items() if name in remembered
            )
        return assignments + [count.assign(value) for count, value in counts.items()]

    def _counts(self, variables: list[Variable]) -> dict[Variable, Tensor]:
        """The counts of `variables`, each with its next value; those that have none come to share one."""
        new = [variable for variable in variables if (variable, COUNT) not in self._slots]
        if new:
            with new[0].graph.as_default():
                initial = as_tensor(int(self.slots()[COUNT]), INT64)
                made = Variable(initial, name=f"{self.name}/{COUNT}", trainable=False)
            self._slots.update(dict.fromkeys(((variable, COUNT) for variable in new), made))
        counts = dict.fromkeys(self._slots[variable, COUNT] for variable in variables)
        return {count: count.value() + 1 for count in counts}

    def _slot(self, variable: Variable, slot: str) -> Variable:
        known = self._slots.get((variable, slot))
        if known is not None:
            return known
        fill = self.slots()[slot]
        # Outside of every scope, body and control dependency: the name and the initial value depend on
        # the variable alone.
        with variable.graph.as_default():
            dtype = _state_dtype(variable)
            filled = as_tensor(fill, dtype)
            if all(isinstance(size, int) for size in variable.type.sizes):
                initial = ops.broadcast_to(filled, variable.type.sizes)
            else:
                initial = ops.add(ops.cast(ops.zeros_like(variable.initial_value), dtype), filled)
            made = Variable(initial, name=f"{variable.name}/{self.name}/{slot}", trainable=False)
        self._slots[variable, slot] = made
        return made


@explains
def get_or_create_global_step(graph: Graph | None = None) -> Variable:
    """The variable ``global_step`` of the graph: int64, not trainable, 0 at first.

    Raises: ArgumentError where a variable of that name is no whole number.
    """
    root = (graph or current().graph).root
    known = root.variables.get("global_step")
    if known is not None:
        _check_step(known)
        return known
    with root.as_default():
        return Variable(0, dtype=INT64, name="global_step", trainable=False)


def check_rate(name: str, value: Any, below: float | None = None) -> Any:
    """`value`, which is a number that is not negative (and less than `below`), or a scalar tensor.

    Raises: ArgumentError, ShapeError.
    """
    if isinstance(value, Tensor | Variable):
        if as_tensor(value).result.shape:
            raise ShapeError(f"{name} is a scalar, not {value.type}")
        return value
    try:
        number = float("" if isinstance(value, str) else value)  # a text is refused, whatever it spells
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{name} is a number or a scalar tensor, not {value!r}") from None
    if not number >= 0 or (below is not None and not number < below):
        limit = "" if below is None else f" and less than {below:g}"
        raise ArgumentError(f"{name} is at least 0{limit}, not {value!r}")
    return number


def _state_dtype(variable: Variable) -> DType:
    return variable.dtype if variable.dtype.itemsize >= FLOAT32.itemsize else FLOAT32


@contextmanager
def _inside(graph: Graph) -> Iterator[None]:
    """`graph` is the current one, unless the current one (a body perhaps) can use its tensors."""
    if current().graph.holds(graph):
        yield
    else:
        with graph.as_default():
            yield


def _gradients(loss: Any, var_list: Any) -> list[tuple[Tensor | None, Variable]]:
    if not isinstance(loss, Tensor | Variable):
        raise ArgumentError(f"a loss is a tensor, not {loss!r}")
    assert loss.graph is not None
    # In the graph of the loss: in the body of a branch, a loss from outside would be an opaque operand.
    with nullcontext() if current().graph is loss.graph else loss.graph.as_default():
        variables = _variables(var_list, loss.graph)
        return list(zip(ops.gradients(loss, variables), variables, strict=True))


def _variables(var_list: Any, graph: Graph) -> list[Variable]:
    if var_list is None:
        variables = [v for v in graph.root.variables.values() if v.trainable]
    else:
        variables = list(var_list) if isinstance(var_list, list | tuple) else [var_list]
    for variable in variables:
        if not isinstance(variable, Variable):
            raise ArgumentError(f"var_list holds variables, not {variable!r}")
    if not variables:
        raise ArgumentError("there are no variables to update")
    return list(dict.fromkeys(variables))


def _checked_pairs(given: Any) -> list[tuple[Any, Variable]]:
    """The pairs that have a gradient."""
    if not isinstance(given, Iterable):
        raise ArgumentError(f"pairs of gradient and variable are wanted, not {given!r}")
    pairs, seen = [], set()
    for item in given:
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise ArgumentError(f"pairs of gradient and variable are wanted, not {item!r}")
        gradient, variable = item
        if not isinstance(variable, Variable):
            raise ArgumentError(f"a gradient is for a variable, not {variable!r}")
        if variable in seen:
            raise ArgumentError(f"{variable.describe()} is given twice")
        seen.add(variable)
        if gradient is not None:
            pairs.append((gradient, variable))
    if not pairs:
        raise ArgumentError("there is no gradient to apply")
    return pairs


def _fitted(gradient: Any, variable: Variable) -> Tensor:
    """`gradient` as a tensor of the variable's shape and dtype."""
    if not isinstance(gradient, Tensor | Variable):
        gradient = as_tensor(gradient, variable.dtype)
    tensor = as_tensor(gradient)
    if not variable.dtype.is_floating or promote(tensor.dtype, variable.dtype) is not variable.dtype:
        raise DTypeError(f"a gradient of {tensor.type} does not fit {variable.describe()}")
    shape, wanted = tensor.result.shape, variable.type.sizes
    if shape is not None and (
        len(shape) != len(wanted) or any(sizes.meet(a, b) is None for a, b in zip(shape, wanted, strict=True))
    ):
        raise ShapeError(f"a gradient of {tensor.type} does not fit {variable.describe()}")
    return as_tensor(tensor, variable.dtype)


def _check_step(step: Any) -> None:
    if not isinstance(step, Variable) or not step.dtype.is_integer or step.type.sizes != ():
        what = step.describe() if isinstance(step, Variable) else repr(step)
        raise ArgumentError(f"a global step is an integer variable without axes, not {what}")
