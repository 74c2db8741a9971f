"""What tensors lack is told where it is asked for, listed nowhere, and costs nothing elsewhere."""

import abc
import inspect
import pydoc
from typing import Generic, TypeVar

import pytest

import graphc as gc
from graphc.absence import Absent
from graphc.operators import Operators

LACKED = [name for name, value in vars(Operators).items() if isinstance(value, Absent)]


def test_every_op_is_lacked_or_there():
    for name, value in vars(gc.ops).items():
        if callable(value) and not name.startswith("_"):
            assert name in vars(Operators), name


@pytest.mark.parametrize("make", [lambda: gc.constant(1.0), lambda: gc.Variable(1.0), lambda: gc.Tensor])
def test_what_is_lacked_is_listed_nowhere(make):
    with gc.Graph().as_default():
        held = make()
        listed = dir(held)
        assert {"shape", "dtype", "__add__"} <= set(listed)
        assert not {"sum", "reduce_sum", "numpy", "exp"} & set(listed)
        for name in listed:
            inspect.getattr_static(held, name)


def test_help_does_not_speak_of_it():
    told = pydoc.render_doc(gc.Tensor, renderer=pydoc.plaintext)
    assert "ndim" in told
    assert "reduce_sum" not in told


def test_a_class_that_overrides_lists_its_own():
    class Vector(Operators):
        def sum(self):
            return 3

    assert "sum" in dir(Vector())
    assert Vector().sum() == 3
    assert "mean" not in dir(Vector())


def test_the_error_names_the_attribute():
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (), name="x")
    with pytest.raises(AttributeError) as caught:
        x.tanh  # noqa: B018
    assert caught.value.name == "tanh"
    assert caught.value.obj is x
    assert getattr(x, "tanh", None) is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sum", "a tensor has no attribute 'sum': gc.sum is a function"),
        ("numpy", "the class Tensor has no 'numpy', nor a value yet"),
        ("assign", "only variables have 'assign', and this is the class Tensor"),
    ],
)
def test_classes_lack_them_too(name, told):
    with pytest.raises(AttributeError, match=told):
        getattr(gc.Tensor, name)


def test_variables_may_be_abstract_and_generic_too():
    class Layer(abc.ABC):
        @abc.abstractmethod
        def call(self, x): ...

    class Weight(gc.Variable, Layer, Generic[TypeVar("T")]):
        def call(self, x):
            return x * self

    with gc.Graph().as_default():
        weight = Weight(2.0)
        y = weight.call(gc.constant(3.0))
        with gc.Session(backend="numpy") as session:
            session.run(gc.global_variables_initializer())
            assert session.run(y) == 6
    assert isinstance(weight, Layer)
    assert not isinstance(y, gc.Variable)


def test_nodes_are_read_without_python():
    assert LACKED
    for kind in gc.Tensor.__mro__:
        assert not {"__getattr__", "__getattribute__"} & set(vars(kind)) or kind is object
