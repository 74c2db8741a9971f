"""Each family, small: the same on both backends, the same each time, and what the ops say it is."""

import numpy as np
import pytest

from runtime.benchmark.families import FAMILIES, bag
from runtime.benchmark.peers import ADAPTERS, graphc_numpy_peer, graphc_peer


def results(peer, name, size):
    family = FAMILIES[name]
    parameters, cases = family.make(size)
    step = peer.build(family, size, parameters, cases)
    return [np.asarray(y) for case in cases for y in step(case)]


@pytest.mark.parametrize("name", FAMILIES)
def test_both_backends_agree(name):
    size = FAMILIES[name].small
    compiled = results(graphc_peer.open_peer(2), name, size)
    meant = results(graphc_numpy_peer.open_peer(1), name, size)
    assert len(compiled) == len(meant) > 0
    if FAMILIES[name].optimizer:
        assert len(compiled) == len(FAMILIES[name].make(size)[1])  # a loss for each case, and nothing besides
    for x, y in zip(compiled, meant, strict=True):
        assert x.shape == y.shape
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.optimizer])
def test_what_trains_learns(name):
    """The loss of the same batch falls, step after step."""
    family = FAMILIES[name]
    parameters, cases = family.make(family.small)
    step = graphc_peer.open_peer(2).build(family, family.small, parameters, cases)
    losses = [float(step(cases[0])[0]) for _ in range(6)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_arrays_are_the_same_each_time(name):
    family = FAMILIES[name]
    first, again = family.make(family.small), family.make(family.small)
    for x, y in ((first[0], again[0]), *zip(first[1], again[1], strict=True)):
        assert x.keys() == y.keys()
        for key in x:
            np.testing.assert_array_equal(x[key], y[key])


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_rise_and_the_smallest_is_tested(name):
    family = FAMILIES[name]
    assert list(family.sizes) == sorted(set(family.sizes))
    assert family.small <= family.sizes[-1]


def numpy_ops():
    return bag({"tanh": np.tanh, "sin": np.sin, "mean": np.mean, "sum": np.sum, "constant": np.asarray})


def by_numpy(name, size):
    """The elementwise families need nothing but NumPy."""
    family = FAMILIES[name]
    parameters, cases = family.make(size)
    found = family.model(numpy_ops(), bag(parameters), bag(cases[0]), size)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", ["chain", "wide", "fibonacci", "tree"])
@pytest.mark.parametrize("size", [1, 2, 7, 33])
def test_against_numpy_itself(name, size):
    for x, y in zip(results(graphc_peer.open_peer(1), name, size), by_numpy(name, size), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_the_cube_of_ones_is_updated():
    _, cases = FAMILIES["ones"].make(5)
    (found,) = results(graphc_peer.open_peer(1), "ones", 5)
    assert found == pytest.approx(cases[0]["x"].sum() + 100, rel=1e-5)


def test_the_index_picks_rows():
    _, cases = FAMILIES["indices"].make(77)
    (found,) = results(graphc_peer.open_peer(1), "indices", 77)
    rows = np.arange(77) * 7919 % 64
    np.testing.assert_allclose(found, cases[0]["x"][rows].mean(0), rtol=1e-5, atol=1e-6)


def test_a_switch_runs_the_branch_that_is_asked_for():
    _, cases = FAMILIES["switch"].make(6)
    found = results(graphc_peer.open_peer(1), "switch", 6)
    for case, y in zip(cases, found, strict=True):
        np.testing.assert_allclose(y, np.tanh(case["x"] * (1 + int(case["which"]) / 6)), rtol=1e-5)


def test_one_executable_serves_all_batch_sizes():
    peer = graphc_peer.open_peer(2)
    results(peer, "dynamic_batch", 5)
    assert peer.compile_count == 1


def test_only_sizes_that_vary_are_unknown():
    family = FAMILIES["dynamic_batch"]
    assert family.shapes(family.make(3)[1]) == {"x": (None, 784)}
    assert FAMILIES["chain"].shapes(FAMILIES["chain"].make(3)[1]) == {"x": (64,)}


def test_every_scope_is_there():
    peer = graphc_peer.open_peer(1)
    family = FAMILIES["scopes"]
    _, fetches, _, _ = peer.define(family, 30, *family.make(30))
    assert fetches[0].name == "/".join([*(f"level{i}" for i in range(30)), "y_9"])


def test_every_family_runs_somewhere_besides():
    """What a family needs is known to the adapter of graphc; no need is misspelt."""
    known = graphc_peer.NEEDS
    assert all(family.needs <= known for family in FAMILIES.values())
    assert set().union(*(family.needs for family in FAMILIES.values())) == known
    assert {"graphc", "graphc-numpy", "jax", "torch", "tensorflow", "pytensor"} == set(ADAPTERS)
