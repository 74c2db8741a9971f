"""Constants are folded to the bits that a run gives, and what is refused stays as it is."""

import numpy as np
import pytest

import graphc as gc
from passes import constant_folding


@pytest.fixture(autouse=True)
def graph():
    with gc.Graph().as_default() as opened:
        yield opened


def ops_of(fetch):
    return [node.op.name for node in gc.optimize(fetch).nodes()]


def test_what_repeats_a_number_is_never_data():
    assert ops_of(gc.ones((4, 4), name="y")) == ["constant", "broadcast_to"]
    assert ops_of(gc.negative(gc.constant([1.0, 2.0]))) == ["constant"]


def test_bfloat16_is_rounded_as_in_a_run():
    a = gc.constant(1.0078125, dtype="bfloat16")
    (folded,) = gc.optimize(a * a).outputs
    assert folded.op.name == "constant"
    assert folded.attrs["value"] == 1.015625  # of 1.01568603515625


def test_what_fails_does_so_in_the_run_that_asks():
    index = gc.constant([0, 3]) + gc.constant([0, 4])
    wrong = gc.gather(gc.constant([1.0, 2.0]), index)
    assert "gather" in ops_of(wrong)
    with gc.Session() as session:
        assert session.run(gc.sum(index)) == 7
        with pytest.raises(gc.IndexOutOfRangeError, match=r"test_constant_folding\.py"):
            session.run(wrong)
    assert np.isinf(gc.optimize(gc.constant(1.0) / gc.constant(0.0)).outputs[0].attrs["value"])


def refusals(fetch):
    record = gc.record(fetch)
    decisions = [d for stage in record["stages"] for d in stage["decisions"] if d["kind"] == "fold"]
    refused = {(d["subject"], d["reason"]) for d in decisions if not d["accepted"]}
    assert all(record["reasons"]["fold"][reason] for _, reason in refused)  # a sentence for people
    return refused


@pytest.mark.parametrize(("size", "folds"), [(33, True), (34, False)])
def test_a_result_may_hold_only_a_little_more_than_its_operands(size, folds):
    column, row = np.arange(2 * size, dtype=np.float32).reshape(2, size)
    product = gc.constant(column[:, None]) * gc.constant(row[None])
    assert (4 * size * size <= 8 * size + constant_folding.GROWTH_LIMIT) == folds
    assert ops_of(product) == (["constant"] if folds else ["constant", "constant", "mul"])
    assert refusals(product) == (set() if folds else {("mul", "growth")})


def test_what_is_refused_is_recorded_with_its_reason():
    assert refusals(gc.ones((4, 4)) * gc.constant(2.0)) == {("broadcast_to", "splat")}
    index = gc.constant([1]) + gc.constant([4])
    assert refusals(gc.gather(gc.constant([1.0, 2.0]), index)) == {("gather", "fails")}


def test_folding_ends_when_its_time_is_used_up(monkeypatch):
    product = gc.constant([1.0, 2.0]) * gc.constant([3.0, 4.0])
    assert refusals(product) == set()
    monkeypatch.setattr(constant_folding, "TIME_BUDGET", -1.0)
    assert refusals(product) == {("mul", "budget")}
    assert ops_of(product) == ["constant", "constant", "mul"]
