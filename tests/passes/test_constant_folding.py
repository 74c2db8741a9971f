"""Constants are folded to the bits that a run gives, and what is refused stays as it is."""

import numpy as np
import pytest

import graphc as gc


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
