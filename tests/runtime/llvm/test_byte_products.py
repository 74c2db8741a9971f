"""Products of bytes that are cast to wider integers: by dot instructions, with what is done to their sums."""

from dataclasses import replace
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest

import graphc as gc
from graphc.sizes import Symbol
from graphc.types import FLOAT32, INT8, INT16, INT32, INT64, UINT8, UINT32, UINT64
from runtime.llvm_backend.contractions import pairs
from runtime.llvm_backend.contractions.contraction import Access, Expression, Step
from runtime.llvm_backend.contractions.epilogue import is_long
from runtime.llvm_backend.contractions.pair_kernel import emit_pairs, find_product
from runtime.llvm_backend.contractions.pairs import MOST_EXACT, QUADRUPLES, WIDENED, has_dots
from runtime.llvm_backend.contractions.reference import evaluate_all
from runtime.llvm_backend.engine.machine import host
from tests.runtime.llvm import contracts
from tests.runtime.llvm.contracts import Loaded, make_buffers, results, view
from tests.runtime.llvm.frontends import matmul
from tests.runtime.llvm.levels import run_at_level
from tests.runtime.llvm.test_pairs import FORMS

KINDS = {"quadruples": QUADRUPLES, "widened": WIDENED}
SIGNS = list(product((INT8, UINT8), repeat=2))


def machine_for(kind, width):
    machine = replace(host(), vector_bytes=width, int8=kind == "quadruples" and host().int8)
    if width > host().vector_bytes or not has_dots(machine, KINDS[kind]):
        pytest.skip(f"the CPU has no instruction for {kind} of {width} bytes")
    return machine


def cast_to(contract, signs, total, out=None):
    """The contract of bytes that are cast to `total`."""
    cast = Expression((), (Step("cast", (0,), total),))
    ins = tuple(replace(access, dtype=sign) for access, sign in zip(contract.ins, signs, strict=True))
    made = replace(contract.out, dtype=out or total)
    return replace(contract, ins=ins, out=made, prologue=(cast, cast))


def run(contract, machine, sizes=None):
    """The results of the kernel, and those of the reference."""
    values = {Symbol(name): size for name, size in (sizes or {}).items()}

    def emit(contract, _, target):
        made = emit_pairs(contract, machine, target=target, always=True)
        assert ("vpdpbusd" if machine.int8 else "pmadd") in made.text
        return made

    with patch.object(contracts, "emit_contraction", emit):
        loaded = Loaded(contract)
    buffers = make_buffers(contract, values)
    random = np.random.default_rng(2)
    for access in contract.ins:
        low, high = (-128, 128) if access.dtype is INT8 else (0, 256)
        old = buffers[access.buffer]
        buffers[access.buffer] = random.integers(low, high, old.size).astype(old.dtype)
        buffers[access.buffer][: old.size // 3] = low if access.dtype is INT8 else high - 1
    loaded(buffers, values)
    wanted = evaluate_all(contract, buffers, values)
    return [view(contract, buffers[x.buffer], values, x) for x in results(contract)], wanted


@pytest.mark.parametrize(
    ("kind", "width"), [("quadruples", 64), ("quadruples", 32), ("widened", 64), ("widened", 32)]
)
@pytest.mark.parametrize("signs", SIGNS, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_sums_are_exact(form, signs, kind, width):
    contract, sizes = FORMS[form]
    (found,), (wanted,) = run(cast_to(contract, signs, INT32), machine_for(kind, width), sizes)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signs", SIGNS, ids=str)
@pytest.mark.parametrize("total", [INT16, UINT32, INT64, UINT64], ids=str)
def test_other_integers_wrap_as_they_do(total, signs, kind):
    (found,), (wanted,) = run(cast_to(matmul(9, 70, 611), signs, total), machine_for(kind, 64))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_that_leave_int32_wrap(kind):
    machine = machine_for(kind, 64)
    x, w = np.full((8, 60_000), 255, np.uint8), np.full((60_000, 16), 255, np.uint8)
    contract = cast_to(matmul(8, 16, 60_000), (UINT8, UINT8), INT32)
    with patch.object(
        contracts, "emit_contraction", lambda c, _, target: emit_pairs(c, machine, target=target)
    ):
        loaded = Loaded(contract)
    out = np.empty((8, 16), np.int32)
    loaded({"x": x.reshape(-1), "y": w.reshape(-1), "out": out.reshape(-1)})
    assert (out == np.int64(60_000 * 255 * 255).astype(np.int32)).all()
    assert (out < 0).all()


def finished(contract, steps, out=None, also=()):
    """Sums times a number for each column, plus one for each row, a residual: then `steps`."""
    row, column = contract.out.strides
    reads = (
        Access("scale", 0, {column: 1}),
        Access("bias", 3, {row: 2}),
        Access("rest", 0, dict(contract.out.strides), INT32),
        Access("number", 0, {}),
    )
    first = (
        Step("cast", (0,), FLOAT32),
        Step("mul", (5, 1), FLOAT32),
        Step("add", (6, 2), FLOAT32),
        Step("cast", (3,), FLOAT32),
        Step("add", (7, 8), FLOAT32),
        Step("mul", (9, 4), FLOAT32),
    )
    more = tuple((value, replace(contract.out, buffer=f"out{value}", dtype=dtype)) for value, dtype in also)
    made = replace(contract.out, dtype=out or FLOAT32)
    return replace(contract, out=made, epilogue=Expression(reads, first + steps), also=more)


EDGES = ["(17, 33, 29)", "(65, 130, 70)", "sizes at the run", "y transposed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", EDGES)
def test_epilogues_by_way_of_the_stack(form, kind):
    contract, sizes = FORMS[form]
    steps = (Step("sigmoid", (10,), FLOAT32), Step("exp", (11,), FLOAT32))
    plain = cast_to(contract, (UINT8, INT8), INT32)
    contract = finished(plain, steps, also=[(0, INT32), (7, FLOAT32)])
    assert is_long(contract, 12)
    found, wanted = run(contract, machine_for(kind, 64), sizes)
    assert len(found) == 3
    np.testing.assert_array_equal(found[1], wanted[1])
    for x, y in zip(found, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", EDGES)
def test_epilogues_in_registers(form, kind):
    contract, sizes = FORMS[form]
    contract = cast_to(contract, (INT8, INT8), INT32)
    row, column = contract.out.strides
    reads = Access("bias", 1, {column: 1}, INT32), Access("rest", 0, {row: 1, column: 0}, INT32)
    steps = Step("add", (0, 1), INT32), Step("maximum", (3, 2), INT32)
    also = (3, replace(contract.out, buffer="sum")), (0, replace(contract.out, buffer="plain"))
    contract = replace(contract, epilogue=Expression(reads, steps), also=also)
    assert not is_long(contract, 24)
    for found, wanted in zip(*run(contract, machine_for(kind, 64), sizes), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_requantised(kind):
    steps = Step("sign", (10,), FLOAT32), Step("cast", (11,), INT8)
    contract = finished(cast_to(matmul(21, 75, 66), (INT8, INT8), INT32), steps, INT8)
    found, wanted = run(contract, machine_for(kind, 64))
    np.testing.assert_array_equal(found[0], wanted[0])


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_bytes_that_go_on(kind):
    """Sums of bytes wrap first."""
    contract = finished(cast_to(matmul(21, 75, 66), (INT8, INT8), INT8), ())
    found, wanted = run(replace(contract, prologue=()), machine_for(kind, 64))
    np.testing.assert_allclose(found[0], wanted[0], rtol=2e-6)


def test_what_is_no_product_of_bytes(monkeypatch):
    """Of a CPU that has the instruction, whatever this one has: nothing is compiled."""
    monkeypatch.setattr(pairs, "is_known", lambda words, vector_bytes: True)
    machine = replace(host(), architecture="x86_64", vector_bytes=64, masks=True, int8=True)
    exact = cast_to(matmul(64, 64, MOST_EXACT + 1), (UINT8, UINT8), INT32)
    assert find_product(exact, machine) is not None
    assert find_product(cast_to(matmul(4, 90, 95), (UINT8, UINT8), INT32), machine) is not None
    for contract in (
        cast_to(matmul(64, 64, MOST_EXACT + 1), (UINT8, UINT8), INT64),  # its sums leave int32
        cast_to(matmul(64, 64, 70_000), (UINT8, UINT8), INT32),
        cast_to(matmul(64, 64, 640), (UINT8, UINT8), FLOAT32),
        replace(exact, ins=(exact.ins[0], replace(exact.ins[1], dtype=INT16))),
        cast_to(matmul(1, 640, 6400), (UINT8, UINT8), INT32),
        cast_to(matmul(16, 16, 16), (UINT8, UINT8), INT32),
        cast_to(matmul(3, 600, 640), (UINT8, UINT8), INT32),
    ):
        assert find_product(contract, machine) is None


# Through sessions: what the machine has, and what every machine of a level has.


def wide(x):
    return gc.cast(x, "int32")


MODELS = {
    "matmul": lambda x, w: gc.matmul(wide(x), wide(w)),
    "transposed": lambda x, w: gc.matmul(wide(x), gc.transpose(wide(gc.transpose(w)))),
    "tensordot": lambda x, w: gc.tensordot(wide(x), wide(w), axes=1),
    "einsum": lambda x, w: gc.einsum("mk,kn->nm", wide(x), wide(w)),
    "dequantised": lambda x, w: (
        gc.cast(gc.matmul(wide(x), wide(w)), "float32") * np.float32(0.5) + np.float32(1)
    ),
    "requantised": lambda x, w: gc.cast(
        gc.clip(gc.round(gc.cast(gc.matmul(wide(x), wide(w)), "float32") * np.float32(2**-9)), -128.0, 127.0),
        "int8",
    ),
    "biased": lambda x, w: gc.matmul(wide(x), wide(w)) + gc.sum(wide(w), axis=0) * -3,
    "relu of bytes": lambda x, w: gc.nn.relu(
        gc.cast(gc.matmul(gc.cast(x, "int8"), gc.cast(w, "int8")), "float32")
    ),
    "rows apart": lambda x, w: (  # whose sums meet what repeats along some of their rows
        gc.cast(gc.einsum("bmk,kn->bmn", gc.stack([wide(x), wide(x)]), wide(w)), "float32")
        + gc.constant(np.array([[[0.5]], [[2.0]]], np.float32))
    ),
    "squared": lambda x, w: gc.einsum("mk,nk->mn", wide(x), wide(x)) + gc.sum(wide(w)),
}


def check_models(shapes):
    random = np.random.default_rng(4)
    for (name, build), (a, b), (m, n, k) in product(
        MODELS.items(), product(("int8", "uint8"), repeat=2), shapes
    ):
        x, w = (random.integers(0, 256, s).astype(d) for s, d in (((m, k), a), ((k, n), b)))
        answers = []
        for backend in ("llvm", "numpy"):
            with gc.Graph().as_default() as graph:
                given = [gc.placeholder(array.dtype.name, array.shape) for array in (x, w)]
                result = build(*given)
                with gc.Session(graph, backend=backend) as session:
                    steps = session.compile(result, given).record["program"]["steps"]
                    assert backend == "numpy" or "meaning" not in [s.get("kind") for s in steps]
                    answers.append(session.run(result, dict(zip(given, (x, w), strict=True))))
        np.testing.assert_array_equal(*answers, err_msg=f"{name} of {a} and {b}, {m} x {n} x {k}")


SHAPES = [(3, 5, 7), (97, 101, 103), (70, 128, 64), (8, 0, 9), (8, 9, 0)]


def test_models():
    check_models(SHAPES)


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_models_of_a_level(level):
    run_at_level(level, "from tests.runtime.llvm.test_byte_products import *; check_models(SHAPES[:3])")


def fused_by(executable):
    """The reasons of what is fused, and of what is not."""
    decisions = [d for stage in executable.record["stages"] for d in stage["decisions"]]
    return [
        [d["reason"] for d in decisions if d["kind"] == "fuse" and d["accepted"] is x] for x in (True, False)
    ]


def test_the_casts_are_no_arrays():
    """A product of bytes is one kernel, and says so; where it is too small for that, why not."""
    machine_for("quadruples", 64)
    with gc.Graph().as_default() as graph:
        x, w, y = (
            gc.placeholder(*each)
            for each in (("uint8", (None, 200)), ("int8", (200, 100)), ("int8", (2, 200)))
        )
        result = gc.cast(gc.matmul(wide(x), wide(w)), "float32") * 0.5
        few = gc.matmul(wide(y), wide(w))
        with gc.Session(graph, backend="llvm") as session:
            executable = session.compile(result, [x, w])
            assert [s["kind"] for s in executable.record["program"]["steps"]] == ["llvm", "view"]
            accepted, refused = fused_by(executable)
            assert sorted(accepted) == ["epilogue", "prologue", "prologue"]
            assert not refused
            assert "vpdpbusd" in str(executable.kernels[0].text)
            for rows in (0, 1, 70):
                given = np.arange(rows * 200).reshape(rows, 200).astype(np.uint8)
                weights = np.arange(20_000).reshape(200, 100).astype(np.int8)
                found = session.run(result, {x: given, w: weights})
                np.testing.assert_array_equal(found, (given.astype(np.int32) @ weights) * np.float32(0.5))
            assert "packed" in fused_by(session.compile(few, [w, y]))[1]
