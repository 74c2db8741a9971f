"""What the tests of `graphc` share."""

import pytest

import graphc as gc


@pytest.fixture(autouse=True)
def graph():
    """A graph of its own for every test."""
    with gc.Graph(seed=0).as_default() as graph:
        yield graph
