"""Functions that compute nothing go through no pipeline."""

import numpy as np
import pytest

import graphc as gc


@pytest.mark.parametrize("computes", [False, True])
def test_only_what_computes_goes_through_the_pipeline(computes):
    with gc.Graph().as_default():
        first = gc.constant(np.ones(4, np.float32))
        values = [np.full(4, i, np.float32) for i in range(3)] + [gc.exp(first)] * computes
        variables = [gc.Variable(value) for value in values]
        with gc.Session() as session:
            init = gc.global_variables_initializer()
            session.run(init)
            ran = [entry["name"] for entry in session.compile(init).record["passes"]]
            assert "thread_state" in ran
            assert ("simplify" in ran) == ("fuse" in ran) == computes
            for i, variable in enumerate(variables[:3]):
                np.testing.assert_array_equal(session.run(variable), values[i])
