"""A variable whose first value is a large constant has that as it is; only its memory tells."""

import numpy as np
import pytest

import graphc as gc
from passes.stages import listening
from runtime import recognition
from runtime.llvm_backend.engine import objects

X = np.random.default_rng(5).standard_normal((60, 40)).astype(np.float32)


def constant_of(variable):
    return variable.initial_value.attrs["value"]


def kept(session, variable):
    return session._state.variables[variable.name]


@pytest.fixture(autouse=True)
def graph():
    recognition.forget()
    with gc.Graph().as_default():
        yield


def test_a_large_first_value_is_not_copied_and_stays_as_it_is():
    v, small = gc.Variable(X, name="v"), gc.Variable(X[0], name="small")
    double, init = v.assign(v * 2.0), gc.global_variables_initializer()
    with gc.Session(backend="llvm") as session, gc.Session(backend="llvm") as other:
        for one in (session, other):
            one.run(init)
            assert kept(one, v) is constant_of(v)
            assert kept(one, small) is not constant_of(small)
            assert one.compile(init).assigns
        for power in (2, 4):
            np.testing.assert_array_equal(session.run(double), X * power)
        assert not np.shares_memory(kept(session, v), constant_of(v))
        np.testing.assert_array_equal(other.run(v), X)
        np.testing.assert_array_equal(constant_of(v), X)
        session.run(init)
        np.testing.assert_array_equal(session.run(v), X)


def test_what_is_fetched_is_the_callers_own():
    v = gc.Variable(X, name="v")
    with gc.Session(backend="llvm") as session:
        for fetches in (
            v.initializer,
            [v.initializer, v.initial_value, gc.exp(v.initializer)],
            v,
            v.initial_value,
        ):
            found = session.run(fetches)
            for array in found if isinstance(found, list) else [found]:
                assert array.flags.writeable
                assert not np.shares_memory(array, constant_of(v))
                array[...] = 0.0
        np.testing.assert_array_equal(session.run(v), X)
        np.testing.assert_array_equal(constant_of(v), X)


def test_one_constant_for_two_variables_and_others_beside_it():
    c = gc.constant(X)
    v, w = gc.Variable(c, name="v"), gc.Variable(c, name="w")
    z = gc.Variable(gc.zeros([60, 40]), name="z")
    turned = gc.Variable(gc.reshape(c, [40, 60]), name="turned")
    with gc.Session(backend="llvm") as session:
        session.run(gc.global_variables_initializer())
        assert kept(session, v) is kept(session, w) is c.attrs["value"]
        session.run([v.assign_add(1.0), z.assign(w)])
        for variable, expected in ((v, X + 1), (w, X), (z, X), (turned, X.reshape(40, 60))):
            np.testing.assert_array_equal(session.run(variable), expected)


def test_it_is_held_once():
    v = gc.Variable(X, name="v")
    with gc.Session(backend="llvm") as session:
        executable = session.compile(gc.global_variables_initializer())
        assert executable.peak_bytes() == X.nbytes
        assert executable.native.adopted["v"] is constant_of(v)
        assert executable.native.assigned == ()


def test_templates_adopt_the_constants_of_the_program_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(recognition, "on_disk", True)
    for counted in ({}, {"requests recognised": 1}, {"requests recalled from disk": 1}):
        with gc.Graph().as_default():
            v = gc.Variable(X, name="v")
            init = gc.global_variables_initializer()
            with gc.Session(backend="llvm") as session, listening() as heard:
                session.run(init)
                np.testing.assert_array_equal(kept(session, v), X)
                assert not kept(session, v).flags.writeable
                for name, count in counted.items():
                    assert heard.counts[name] == count
                if "requests recalled from disk" in counted:
                    assert kept(session, v) is constant_of(v)
        if counted:
            recognition.forget()
    objects._cache_in.cache_clear()
