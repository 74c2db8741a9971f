"""Native programs: a whole run in one call means what the steps mean, one by one."""

import os
import threading

import numpy as np
import pytest

import graphc as gc
from graphc.sizes import Symbol


def native(session, fetches, feeds):
    executable = session.compile(fetches, feeds)
    assert executable.record["native"]["reason"] is None
    return executable.native


def random(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# Training.


def mlp():
    x, y = gc.placeholder("float32", ("batch", 12), name="x"), gc.placeholder("int64", ("batch",), name="y")
    weights = [gc.Variable(random(m, n, seed=m) / 3, name=f"w{m}") for m, n in ((12, 33), (33, 17), (17, 5))]
    h = x
    for w in weights:
        h = gc.nn.relu(h) @ w + gc.Variable(np.zeros(w.shape[1], np.float32))
    return gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=y, logits=h)), [x, y]


def conv_net():
    x, y = gc.placeholder("float32", ("batch", 8, 8, 1), name="x"), gc.placeholder("int64", ("batch",))
    filters = gc.Variable(random(3, 3, 1, 6) / 3)
    h = gc.nn.max_pool(gc.nn.relu(gc.nn.conv2d(x, filters)), 2, strides=2)
    h = gc.reshape(h, (-1, 4 * 4 * 6))
    logits = h @ gc.Variable(random(96, 5) / 10) + gc.Variable(np.zeros(5, np.float32))
    return gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=y, logits=logits)), [x, y]


def recurrent():
    x, y = gc.placeholder("float32", (6, "batch", 4), name="x"), gc.placeholder("int64", ("batch",))
    w, u = gc.Variable(random(4, 9) / 2), gc.Variable(random(9, 9) / 3)

    def cell(h, step):
        h = gc.tanh(step @ w + h @ u)
        return h, h

    start = gc.zeros((gc.shape(x)[1], 9))
    last, _ = gc.scan(cell, start, x)
    logits = last @ gc.Variable(random(9, 5))
    return gc.mean(gc.losses.sparse_softmax_cross_entropy(labels=y, logits=logits)), [x, y]


def batch_for(build, n, seed):
    shape = {mlp: (n, 12), conv_net: (n, 8, 8, 1), recurrent: (6, n, 4)}[build]
    return random(*shape, seed=seed), np.random.default_rng(seed).integers(0, 5, n)


@pytest.mark.parametrize("build", [mlp, conv_net, recurrent])
def test_training_is_the_same_on_both_backends(build):
    loss, feeds = build()
    step = gc.train.Adam(0.01).minimize(loss)
    losses = {}
    for backend in gc.backends():
        with gc.Session(backend=backend, seed=1) as session:
            session.run(gc.global_variables_initializer())
            train = session.make_callable([loss, step], feeds)
            losses[backend] = [train(*batch_for(build, 9 + i % 3, i))[0] for i in range(20)]
    np.testing.assert_allclose(losses["llvm"], losses["numpy"], rtol=2e-4)


# Sizes.


def test_one_executable_for_all_sizes():
    loss, feeds = mlp()
    slope = gc.gradients(loss, gc.trainable_variables())
    with gc.Session(backend="llvm") as session, gc.Session(backend="numpy") as reference:
        for s in (session, reference):
            s.run(gc.global_variables_initializer())
        native(session, [loss, *slope], feeds)
        count = session.compile_count
        for n in (5, 1, 300, 2, 2, 64, 1000, 3):
            given = dict(zip(feeds, batch_for(mlp, n, n), strict=True))
            found = session.run([loss, *slope], given)
            expected = reference.run([loss, *slope], given)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert session.compile_count == count


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("k", [0, 1, 17])
def test_empty_and_single_sizes(n, k):
    x, y = gc.placeholder("float32", ("n", "k")), gc.placeholder("float32", ("k", 2))
    fetches = [
        x @ y,
        gc.sum(x, axis=0),
        gc.sum(x, axis=1),
        gc.transpose(x) * 2,
        gc.broadcast_to(gc.expand_dims(x, 0), (2, gc.shape(x)[0], gc.shape(x)[1])),
        gc.einsum("nk,kj->jn", x, y),
        gc.nn.softmax(x + 1.0) if k else x,
    ]
    given = {x: random(n, k), y: random(k, 2)}
    with gc.Session(backend="llvm") as session, gc.Session(backend="numpy") as reference:
        for a, b in zip(session.run(fetches, given), reference.run(fetches, given), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_maximum_of_nothing_is_an_error():
    x = gc.placeholder("float32", ("n", "k"))
    with gc.Session(backend="llvm") as session:
        for axis in (0, 1):
            y = gc.max(x * 2.0, axis=axis)
            assert session.run(y, {x: np.ones((2, 2))}).tolist() == [2, 2]
            with pytest.raises(gc.GraphError):
                session.run(y, {x: np.ones((2, 0)) if axis else np.ones((0, 2))})


def test_sizes_that_do_not_fit_are_errors_and_ones_broadcast():
    x, y = gc.placeholder("float32", (None,)), gc.placeholder("float32", (None,))
    with gc.Session(backend="llvm") as session:
        add = session.make_callable(x + y, [x, y])
        assert add(np.ones(3, "f4"), np.ones(3, "f4")).tolist() == [2, 2, 2]
        assert add(np.ones(3, "f4"), np.ones(1, "f4")).tolist() == [2, 2, 2]
        with pytest.raises(gc.ShapeError, match="sizes differ"):
            add(np.ones(3, "f4"), np.ones(2, "f4"))
        with pytest.raises(gc.FeedError):
            add(np.ones((3, 1), "f4"), np.ones(2, "f4"))
        with pytest.raises(gc.FeedError):
            add(np.ones(3), [1e300] * 3)


def test_sizes_below_zero_are_errors():
    x = gc.placeholder("float32", (None,), name="x")
    less = gc.shape(x)[0] - 3
    with gc.Session(backend="llvm") as session:
        rest = session.make_callable([gc.zeros([less]) + 1.0, gc.sum(gc.ones([less, 2]))], [x])
        for n in (5, 3):
            ones, total = rest(np.ones(n, "f4"))
            assert (ones.tolist(), total) == ([1.0] * (n - 3), 2 * (n - 3))
        with pytest.raises(gc.ShapeError, match=r"broadcast_to: the size .* = -2 is negative"):
            rest(np.ones(1, "f4"))


def test_the_arena_is_what_is_planned():
    loss, feeds = mlp()
    with gc.Session(backend="llvm", threads=1) as session:
        session.run(gc.global_variables_initializer())
        program = native(session, loss, feeds)
        for n in (4, 50):
            session.run(loss, dict(zip(feeds, batch_for(mlp, n, n), strict=True)))
            arena = program._arena
            known = {Symbol("batch"): n}
            state = program._call.states[0]
            assert state.words[arena.capacity] == program.arena_bytes(known)
            assert program.arena_bytes(known) - arena.plan.offsets(known)[-1] < 200_000  # scratch


# Arrays in and out.


def test_what_is_given_back_is_the_callers_own():
    x = gc.placeholder("float32", (3,), name="x")
    v, c = gc.Variable([1.0, 2.0, 3.0]), gc.constant([4.0, 5.0, 6.0])
    fetches = [x, x, c, v, gc.reshape(x, (3, 1)), x + 1.0, x + 1.0, v.assign(c), gc.identity(c)]
    array = np.arange(3, dtype="float32")
    with gc.Session(backend="llvm") as session:
        session.run(v.initializer)
        results = session.run(fetches, {x: array})
        for i, a in enumerate(results):
            assert a.flags.writeable
            assert not np.shares_memory(a, array)
            assert not any(np.shares_memory(a, b) for b in results[:i])
        for a in results:
            a[...] = 77
        assert session.run(v).tolist() == [4, 5, 6]
        assert session.run(c).tolist() == [4, 5, 6]
        scalar = session.run(gc.sum(x), {x: array})
        assert type(scalar) is np.float32
        assert session.run([gc.group(v), x], {x: array})[0] is None


def test_any_value_that_can_be_fed():
    x = gc.placeholder("float32", (2, 3), name="x")
    with gc.Session(backend="llvm") as session:
        double = session.make_callable(x * 2.0, [x])
        array = np.arange(6.0).reshape(2, 3)
        for value in (
            array,
            array.tolist(),
            np.asfortranarray(array, "f4"),
            array.astype(">f4"),
            array[::-1][::-1],
        ):
            np.testing.assert_array_equal(double(value), array * 2)


# Failure.


def test_a_failing_kernel_says_how_and_changes_nothing():
    x, v = gc.placeholder("int32", ("n",), name="x"), gc.Variable(np.zeros(2, "int32"))
    fetches = [v.assign_add([1, 1]), 7 // x]
    with gc.Session(backend="llvm") as session:
        session.run(v.initializer)
        native(session, fetches, [x])
        session.run(fetches, {x: [1, 2]})
        with pytest.raises(gc.DivisionError, match=r"floor_divide(.|\n)*test_native.py"):
            session.run(fetches, {x: [1, 0]})
        assert session.run(v).tolist() == [1, 1]


def test_a_failing_step_in_python_says_how_and_changes_nothing():
    x, i = gc.placeholder("float32", ("n",), name="x"), gc.placeholder("int32", (2,), name="i")
    v = gc.Variable(np.zeros(2, "float32"))
    new = v.assign_add([1.0, 1.0])
    checked = gc.check(x > 0.0, "x must be positive")
    with gc.Session(backend="llvm") as session:
        session.run(v.initializer)
        fetches = [new, gc.gather(x, i) * 2.0, checked]
        native(session, fetches, [x, i])
        session.run(fetches, {x: [1, 2], i: [0, 1]})
        with pytest.raises(gc.IndexOutOfRangeError, match=r"gather(.|\n)*test_native.py(.|\n)*f32\[2\]"):
            session.run(fetches, {x: [1, 2], i: [0, 5]})
        with pytest.raises(gc.CheckError, match="x must be positive"):
            session.run(fetches, {x: [1, -2], i: [0, 1]})
        assert session.run(v).tolist() == [1, 1]


def test_checked_numbers_run_natively():
    x = gc.placeholder("float32", (2,))
    with gc.Session(backend="llvm", check_numerics=True) as session:
        assert session.compile(gc.log(x), [x]).native is not None
        with pytest.raises(gc.NumericsError, match="log"):
            session.run(gc.log(x), {x: [1, -1]})


def test_an_uninitialised_variable():
    v = gc.Variable([1.0])
    with gc.Session(backend="llvm") as session, pytest.raises(gc.UninitializedError, match="initializer"):
        session.run(v * 2.0)


# State, randomness, regions.


def test_draws_are_those_of_the_other_backend():
    draw, x = gc.random.normal((5,)), gc.placeholder("float32", (2,))
    found = {}
    for backend in gc.backends():
        with gc.Session(backend=backend, seed=7) as session:
            runs = [session.run(draw) for _ in range(2)]
            session.run(x + 1.0, {x: [1, 2]})  # counts as a run
            found[backend] = [*runs, session.run(draw)]
    np.testing.assert_array_equal(found["llvm"], found["numpy"])


def test_bodies_that_read_variables():
    v, x = gc.Variable(2.0), gc.placeholder("float32", (), name="x")
    y = gc.while_loop(lambda i, a: i < 4, lambda i, a: [i + 1, a * v + x], [0, 1.0])[1]
    z = gc.cond(x > 0.0, lambda: v * 3.0, lambda: v - 1.0)
    with gc.Session(backend="llvm") as session:
        session.run(v.initializer)
        native(session, [y, z], [x])
        assert session.run([y, z], {x: 1.0}) == [31.0, 6.0]
        assert session.run([y, z, v.assign(5.0)], {x: -1.0}) == [1.0, 1.0, 5.0]
        assert session.run(z, {x: -1.0}) == 4.0
        assert session.run(z, {x: -1.0, v: 8.0}) == 7.0


# Threads.


def large():
    x, w = gc.placeholder("float32", ("n", 600)), gc.placeholder("float32", (600, 300))
    h = gc.nn.softmax(gc.tanh(x @ w) * 3.0)
    return [h, gc.sum(h, axis=0), gc.sum(x), gc.einsum("nk,nj->kj", x, h)], [x, w]


def test_the_same_bits_for_any_number_of_threads():
    fetches, feeds = large()
    x, w = random(701, 600), random(600, 300, seed=1)
    results = []
    for threads in (1, 2, 4):
        with gc.Session(backend="llvm", threads=threads) as session:
            call = session.make_callable(fetches, feeds)
            results += [call(x, w) for _ in range(2)]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_many_threads_in_one_session():
    fetches, feeds = large()
    w, v = random(600, 300, seed=1), gc.Variable(np.zeros(3, np.float32))
    add = v.assign_add([1.0, 1.0, 1.0])
    failures = []
    with gc.Session(backend="llvm", threads=2) as session:
        session.run(v.initializer)
        call = session.make_callable(fetches, feeds)
        expected = {n: call(random(n, 600, seed=n), w) for n in (10, 90)}

        def work(n):
            try:
                for _ in range(6):
                    for a, b in zip(call(random(n, 600, seed=n), w), expected[n], strict=True):
                        np.testing.assert_array_equal(a, b)
                    session.run(add)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=((10, 90)[i % 2],)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert session.run(v).tolist() == [48, 48, 48]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_goes_on():
    fetches, feeds = large()
    x, w = random(400, 600), random(600, 300, seed=1)
    with gc.Session(backend="llvm", threads=2) as session:
        call = session.make_callable(fetches, feeds)
        expected = call(x, w)
        child = os.fork()
        if child == 0:
            same = all(map(np.array_equal, call(x, w), expected))
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert all(map(np.array_equal, call(x, w), expected))


# Strides.


def test_what_only_contractions_use_is_never_made():
    x, w = gc.placeholder("float32", ("batch", 9, 8, 3)), gc.placeholder("float32", (2, 3, 3, 5))
    v = gc.placeholder("float32", (9, 6))
    seen = gc.windows(x[:, 1:, ::-1], axes=(1, 2), size=(2, 3), strides=(2, 1), dilations=(1, 2))
    y = gc.einsum("bhwklc,klcf->bhwf", seen, w)
    across = gc.einsum("bij,kj->bik", gc.transpose(x[:, :, 2], (0, 2, 1)), gc.transpose(v[:, 1:5], (1, 0)))
    fetches = [y, across, gc.gradients(gc.sum(y * y), [w])[0]]
    with gc.Session(backend="llvm") as session, gc.Session(backend="numpy") as reference:
        assert native(session, fetches, [x, w, v]).returns == 0
        for n in (3, 1, 20):
            given = {x: random(n, 9, 8, 3), w: random(2, 3, 3, 5, seed=1), v: random(9, 6, seed=2)}
            for a, b in zip(session.run(fetches, given), reference.run(fetches, given), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_movement():
    x = gc.placeholder("int16", ("n", 4, 6), name="x")
    moved = [
        gc.transpose(x, (2, 0, 1)),
        x[:, 3:0:-2, 1:5:3],
        x[:, :0],
        gc.pad(x, [(0, 0), (2, 1), (0, 3)]),
        gc.broadcast_to(x[:, :1], gc.shape(x)),
        gc.windows(x, axes=(2,), size=(3,), strides=(1,), dilations=(2,)),
    ]
    with gc.Session(backend="llvm") as session, gc.Session(backend="numpy") as reference:
        for n in (2, 0, 1):
            given = {x: np.random.default_rng(n).integers(-9, 9, (n, 4, 6)).astype("int16")}
            for a, b in zip(session.run(moved, given), reference.run(moved, given), strict=True):
                np.testing.assert_array_equal(a, b)


def test_the_shortest_way_keeps_the_nesting_of_what_is_fetched():
    x = gc.placeholder("float32", (2,))
    total, double = gc.sum(x), x * 2.0
    nestings = [
        total,
        double,
        [total],
        [double],
        (double,),
        [double, x + 1.0],
        [total, double],
        {"a": double},
    ]
    nestings += [[double, double], [], [gc.group(x)]]
    with gc.Session(backend="llvm") as session:
        for fetches in nestings:
            call = session.make_callable(fetches, [x])
            for _ in range(3):
                found, expected = call(np.ones(2, "f4")), session.run(fetches, {x: np.ones(2, "f4")})
                assert type(found) is type(expected)
                assert str(found) == str(expected)


def test_sizes_that_change_against_each_other_are_seen():
    """What follows from sizes is computed anew where any has changed, also where their sum has not."""
    with gc.Graph().as_default(), gc.Session(backend="llvm") as session:
        x = gc.placeholder("float32", ("n", "m"))
        y = gc.cumsum(gc.tanh(gc.transpose(x) @ x), axis=0)
        step = session.make_callable([y, gc.shape(y)], [x])
        for shape in ((3, 5), (5, 3), (4, 4), (1, 7), (7, 1), (3, 5)):
            given = np.linspace(-1, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)
            found, sizes = step(given)
            assert sizes.tolist() == [shape[1], shape[1]]
            np.testing.assert_allclose(
                found, np.cumsum(np.tanh(given.T @ given), axis=0), rtol=1e-5, atol=1e-6
            )


def test_sizes_after_others_that_do_not_fit_are_computed_anew():
    with gc.Graph().as_default(), gc.Session(backend="llvm") as session:
        x, y, z = (gc.placeholder("float32", (None, 4)) for _ in range(3))
        total = gc.cumsum(gc.concat([gc.tanh(x), y], axis=0) + z, axis=0)
        step = session.make_callable(total, [x, y, z])

        def run(*rows):
            a, b, c = (random(n, 4, seed=n) for n in rows)
            found, expected = step(a, b, c), np.cumsum(np.concatenate([np.tanh(a), b]) + c, axis=0)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

        run(3, 2, 5)
        for wrong in ((40, 2, 5), (3, 20, 5), (3, 2, 9)):
            for _ in range(2):
                with pytest.raises(gc.ShapeError):
                    run(*wrong)
            run(3, 2, 5)
