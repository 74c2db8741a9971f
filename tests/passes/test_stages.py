"""A stage has the time that it took but for the stages within it, however deep these are."""

import itertools

import pytest

from passes import stages
from passes.stages import listening, stage


@pytest.fixture
def ticking(monkeypatch):
    """Each look at the clock comes a second after the last, each look at the processors' clock ten after."""
    for clock, step in (("perf_counter", 1.0), ("process_time", 10.0)):
        seconds = itertools.count(0.0, step)
        monkeypatch.setattr(stages.time, clock, lambda seconds=seconds: next(seconds))


@pytest.mark.parametrize("counts_too", [True, False])
def test_no_time_is_counted_twice(ticking, counts_too):
    with listening(counts_too) as heard, stage("a"):
        with stage("b"):
            with stage("c"):
                pass
            with stage("c"), stage("d"):
                pass
        with stage("b"):
            pass
    # Twelve looks, one at each end of a stage: what lies between two of them belongs to the innermost.
    assert heard.wall == {"a": 3, "b": 4, "c": 3, "d": 1}
    assert heard.cpu == ({"a": 30, "b": 40, "c": 30, "d": 10} if counts_too else {})
    assert dict(heard.entered) == {"a": 1, "b": 2, "c": 2, "d": 1}


def test_one_that_ends_by_an_error_has_its_time_too(ticking):
    with listening() as heard:
        with pytest.raises(ValueError, match="within"), stage("a"), stage("b"):
            raise ValueError("within")
        with stage("c"):
            pass
    assert heard.wall == {"a": 2, "b": 1, "c": 1}


def test_within_a_stage_others_may_listen_for_themselves(ticking):
    with listening() as outer, stage("a"):
        with listening() as inner, stage("b"):
            pass
        with stage("c"):
            pass
    assert inner.wall == {"b": 1}
    assert outer.wall == {"a": 4, "c": 1}
