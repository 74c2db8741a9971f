"""Random nests of branches and loops: all passes on, on both backends, against the graph as defined."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphc as gc

EFFORT = settings(
    max_examples=10, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
STEP = 1e-5
N = 3  # every value is float64[N], and stays small
ASSIGNING = frozenset(("assign", "branch", "while", "scan", "map"))


class Nest:
    """Draws what a body computes from the values that it sees, with bodies inside."""

    def __init__(self, data, variable, effects=True):
        self.data, self.variable, self.effects = data, variable, effects

    def choose(self, *choices):
        return self.data.draw(st.sampled_from(choices))

    def value(self, seen, depth):
        """A new value made of some of `seen`; what may assign is computed one after the other."""
        before = []
        for _ in range(self.data.draw(st.integers(1, 3))):
            kinds = ["sum", "product", "sine", "constant", "read"]
            if depth:
                kinds += ["branch", "while", "scan", "map"] * 2
            if self.effects:
                kinds += ["assign", "draw"]
            kind = self.choose(*kinds)
            with gc.control_dependencies(before if self.effects and kind in ASSIGNING else []):
                made = getattr(self, "make_" + kind)(seen, depth)
            if kind in ASSIGNING:
                before = [made]
            seen = [*seen, made]
        return seen[-1]

    def make_sum(self, seen, depth):
        return gc.tanh(self.choose(*seen) + self.choose(*seen))

    def make_product(self, seen, depth):
        return self.choose(*seen) * self.choose(*seen) * 0.5

    def make_sine(self, seen, depth):
        return gc.sin(self.choose(*seen) * 1.0)

    def make_constant(self, seen, depth):
        return self.choose(*seen) * gc.constant(self.choose(1.0, -0.5, 0.25), "float64")

    def make_read(self, seen, depth):
        return gc.tanh(self.choose(*seen) - self.variable)

    def make_assign(self, seen, depth):
        new = self.variable.assign(gc.tanh(self.variable + self.choose(*seen)))
        if self.choose(True, False):
            return new * 0.5
        with gc.control_dependencies([new]):
            return self.choose(*seen) * self.variable

    def make_draw(self, seen, depth):
        return self.choose(*seen) * gc.random.uniform((N,), "float64")

    def make_branch(self, seen, depth):
        known = self.choose(None, None, True, False)
        test = gc.sum(self.choose(*seen)) > 0.1 if known is None else gc.constant(known)
        return gc.cond(test, lambda: self.value(seen, depth - 1), lambda: self.value(seen, depth - 1))

    def make_while(self, seen, depth):
        trips, options = (
            self.choose(0, 1, 2, 3),
            self.choose({}, {"maximum_iterations": 2}, {"checkpoint_every": 2}),
        )
        first, idle = self.choose(*seen), self.choose(*seen)

        def step(i, y, unused):
            return i + 1, self.value([*seen, y], depth - 1), unused + y

        def going_on(i, y, unused):
            return gc.logical_and(i < trips, gc.sum(y * y) < 2.5)

        return gc.while_loop(going_on, step, (0, first, idle), **options)[self.choose(1, 1, 2)] * 0.3

    def make_scan(self, seen, depth):
        rows = gc.stack([self.choose(*seen), self.choose(*seen), self.choose(*seen)])

        def step(carry, row):
            new = self.value([*seen, carry, row], depth - 1)
            return new, (gc.sin(row), new * row)

        options = self.choose({}, {"reverse": True}, {"checkpoint_every": 2})
        carry, (over_time, ys) = gc.scan(step, self.choose(*seen), rows, **options)
        return gc.tanh(self.choose(carry, gc.sum(over_time, axis=0), gc.sum(ys, axis=0)))

    def make_map(self, seen, depth):
        rows = gc.stack([self.choose(*seen), self.choose(*seen)])
        return gc.sum(gc.map_fn(lambda row: self.value([*seen, row], depth - 1), rows), axis=0) * 0.5


def drawn(data, effects):
    """A total of a random nest, what it is fed, its variable, and its gradients of two orders."""
    x, y = (gc.placeholder("float64", (N,), name=name) for name in "xy")
    v = gc.Variable(np.linspace(-0.5, 0.5, N), name="v")
    total = gc.sum(Nest(data, v, effects).value([x, y], 2) * gc.constant([1.0, -2.0, 0.5], "float64"))
    slopes = gc.gradients(total, [x, y, v], unconnected="zero")
    curves = gc.gradients(
        gc.add_n([gc.sum(gc.sin(slope)) for slope in slopes]), [x, y, v], unconnected="zero"
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    return total, slopes, curves, {x: rng.uniform(-1, 1, N), y: rng.uniform(-1, 1, N)}, v


def run(fetches, feeds, v, **options):
    with gc.Session(seed=0, **options) as session:
        session.run(v.initializer)
        return [*session.run(fetches, feeds), session.run(v)]


@EFFORT
@given(st.data())
def test_passes_and_backends_agree(data):
    with gc.Graph(seed=0).as_default():
        total, slopes, curves, feeds, v = drawn(data, effects=True)
        fetches = [total, *slopes, *curves]
        right = run(fetches, feeds, v, backend="numpy", pipeline=())
        for backend in gc.backends():
            for found, wanted in zip(run(fetches, feeds, v, backend=backend), right, strict=True):
                np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9, err_msg=gc.show(total))


@EFFORT
@given(st.data())
def test_gradients_of_two_orders_are_slopes(data):
    with gc.Graph(seed=0).as_default():
        total, slopes, curves, feeds, v = drawn(data, effects=False)
        inner = gc.add_n([gc.sum(gc.sin(slope)) for slope in slopes])
        x, *_ = feeds
        along = np.array([0.6, -1.0, 0.8])
        with gc.Session(backend="numpy") as session:
            session.run(v.initializer)
            for y, slope in ((total, slopes[0]), (inner, curves[0])):
                found = along @ session.run(slope, feeds)
                ends = [
                    session.run(y, {**feeds, x: feeds[x] + sign * STEP * along}) for sign in (1, -1, 2, -2)
                ]
                near, far = (ends[0] - ends[1]) / (2 * STEP), (ends[2] - ends[3]) / (4 * STEP)
                if abs(near - far) < 1e-5 * (1 + abs(near)):  # else a branch is taken in between
                    np.testing.assert_allclose(found, near, rtol=1e-4, atol=1e-5, err_msg=gc.show(total))
