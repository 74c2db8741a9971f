"""What is computed at the first look is kept, and no fork in the midst of it keeps a child from computing."""

import os
import signal
import threading

import pytest

from graphc.laziness import Lazy


class Thing:
    def __init__(self, compute):
        self.compute = compute

    @Lazy
    def value(self):
        """What it is."""
        return self.compute()


def test_it_is_computed_at_the_first_look_and_for_each_object():
    looks = []
    first, second = (Thing(lambda: looks.append(1) or object()) for _ in range(2))
    assert not looks
    assert first.value is first.value
    assert first.value is not second.value
    assert len(looks) == 2
    assert isinstance(Thing.value, Lazy)
    assert Thing.value.__doc__ == "What it is."


def test_what_was_an_error_is_computed_again():
    answers = [2]
    thing = Thing(lambda: answers.pop() // len(answers))
    with pytest.raises(ZeroDivisionError):
        thing.value  # noqa: B018  the look is what is tested
    answers[:] = [1, 4]
    assert thing.value == 4


def test_threads_that_compute_at_once_have_one_value():
    barrier = threading.Barrier(2)
    thing = Thing(lambda: (barrier.wait(30), object()))
    found = []
    threads = [threading.Thread(target=lambda: found.append(thing.value)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] is found[1] is thing.value


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_while_another_thread_computes_computes_too():
    computing, done = threading.Event(), threading.Event()

    def slow():
        computing.set()
        done.wait(60)
        return 1

    thread = threading.Thread(target=lambda: Thing(slow).value)
    thread.start()
    computing.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(20)  # which ends it
        os._exit(Thing(lambda: 7).value)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        done.set()
        thread.join()
