"""Checkpoints: exact, atomic, checked before anything is applied, never unpickled."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

import graphc as gc

SUFFIXES = (".npz", ".safetensors")
NAMES = [
    "plain",
    "layer1/w",
    "../up",
    'it\'s "quoted"',
    "<b>&\n",
    "Größe 量",
    "__metadata__",
    "graphc.json",
    "A",
    "a",
]


def build(shape=(2,), dtype="float32", names=("w", "v")):
    graph = gc.Graph(seed=1)
    with graph.as_default():
        for i, name in enumerate(names):
            gc.Variable(np.full(shape, i + 1, dtype), name=name)
    return graph


def opened(graph, initialise=True, **options):
    session = gc.Session(graph=graph, **options)
    if initialise:
        with graph.as_default():
            session.run(gc.global_variables_initializer())
    return session


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_restored_runs_as_what_was_saved(tmp_path, suffix):
    """Bit for bit, by the same code: native code refuses arrays whose dtype is an object of its own."""
    path = tmp_path / f"c{suffix}"
    with gc.Graph(seed=1).as_default() as graph:
        w = gc.Variable(gc.random.normal((4, 3)), name="w")
        y = gc.tanh(gc.matmul(gc.ones((2, 4)), w))
        first, second = opened(graph), opened(graph, initialise=False)
        first.save(path)
        second.restore(path)
        np.testing.assert_array_equal(second.run(y), first.run(y))
        assert second._state.variables["w"].dtype is np.dtype(np.float32)
        first.close()
        second.close()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_saved_comes_back(tmp_path, suffix):
    path = tmp_path / f"c{suffix}"
    arrays = {
        "float64": np.array([[np.nan, -0.0, np.inf]]),
        "bool": np.array([True, False]),
        "uint64": np.array(2**64 - 1, np.uint64),
        "int8": np.zeros((0, 3), np.int8),
        "float16": np.arange(4, dtype=np.float16),
    }
    with gc.Graph().as_default() as graph:
        for name, array in arrays.items():
            gc.Variable(array, name=name)
        gc.Variable([1.0, 3.015625], dtype="bfloat16", name="b")
        draw = gc.random.uniform((2,))
        saver = opened(graph, seed=5)
        saver.save(path)
        reader = opened(graph, initialise=False)
        reader.restore(path)
        for name, array in arrays.items():
            found = reader.run(name)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(reader.run("b"), [1.0, 3.015625])
        for _ in range(len(arrays) + 1):
            saver.run([])
        np.testing.assert_array_equal(saver.run(draw), reader.run(draw))  # the run count came along


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_name_is_safe(tmp_path, suffix):
    graph = build(names=NAMES)
    path = tmp_path / f"c{suffix}"
    opened(graph).save(path)
    other = opened(graph, initialise=False)
    other.restore(str(path))
    for i, name in enumerate(NAMES):
        assert other.run(name)[0] == i + 1
    assert os.listdir(tmp_path) == [path.name]


def test_other_tools_read_it(tmp_path):
    opened(build()).save(tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz", allow_pickle=False) as archive:
        assert archive["v"].tolist() == [2, 2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_everything_is_checked_before_anything_is_applied(tmp_path, suffix):
    path = tmp_path / f"c{suffix}"
    opened(build(names=("w", "extra"))).save(path)
    with build(shape=(3,), names=("w", "lost", "extra")).as_default() as graph:
        session = opened(graph)
        with pytest.raises(gc.FormatError) as caught:
            session.restore(path)
        text = str(caught.value)
        assert "variable 'w' is f32[3], and f32[2] in the checkpoint" in text
        assert "variable 'lost' (f32[3]) is not in it" in text
        assert path.name in text
        assert session.run("w").tolist() == [1, 1, 1]
    with pytest.raises(gc.FormatError, match=r"'w' is f64\[2\], and f32\[2\]"):
        opened(build(dtype="float64", names=("w",))).restore(path)
    opened(build(names=("w",))).restore(path)  # what else is in it is ignored


def test_partial_restore(tmp_path):
    path = tmp_path / "c.npz"
    graph = build()
    opened(graph).save(path)
    session = opened(graph)
    with graph.as_default():
        w, v = graph.variables["w"], graph.variables["v"]
        session.run([w.assign([7, 7]), v.assign([7, 7])])
    session.restore(path, [w])
    assert (session.run(w)[0], session.run(v)[0]) == (1, 7)
    session.restore(path, ["v", v])
    assert session.run(v)[0] == 2
    with pytest.raises(gc.ArgumentError, match="no variable"):
        session.restore(path, [build().variables["w"]])
    with pytest.raises(gc.UnknownNameError):
        session.restore(path, ["nope"])
    with pytest.raises(gc.ArgumentError, match="a list of variables"):
        session.restore(path, w)


def test_optimizer_state_is_saved(tmp_path):
    with gc.Graph().as_default() as graph:
        w = gc.Variable([1.0, 2.0], name="w")
        train = gc.train.Adam(0.1).minimize(gc.sum(w * w))
        session = opened(graph)
        session.run(train)
        session.save(tmp_path / "c.npz")
        session.run(train)
        expected = session.run(w)
        other = opened(graph, initialise=False)
        other.restore(tmp_path / "c.npz")
        other.run(train)
        np.testing.assert_array_equal(other.run(w), expected)


def _rewrite(path, change, compression=zipfile.ZIP_STORED):
    """Rewrites the members of an .npz by `change`."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _edit(path, change):
    """Rewrites the manifest of an .npz by `change`."""

    def edit(members):
        manifest = json.loads(members["graphc.json"])
        change(manifest)
        members["graphc.json"] = json.dumps(manifest).encode()

    _rewrite(path, edit)


class Bomb:
    def __reduce__(self):
        return (os.abort, ())


DAMAGE = {
    "empty": lambda p: p.write_bytes(b""),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[: len(p.read_bytes()) // 2]),
    "short by one": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "noise": lambda p: p.write_bytes(bytes(range(256)) * 9),
    "pickle": lambda p: p.write_bytes(pickle.dumps(Bomb())),
    "flipped": lambda p: p.write_bytes(p.read_bytes().replace(np.float32(2).tobytes(), b"\1\2\3\4")),
}
NPZ_DAMAGE = {
    "foreign": lambda p: np.savez(p, w=np.zeros(2, "f4"), v=np.zeros(2, "f4")),
    "pickled array": lambda p: np.savez(p, w=np.array([Bomb()], object)),
    "version": lambda p: _edit(p, lambda m: m.update(version=99)),
    "no list": lambda p: _edit(p, lambda m: m.pop("variables")),
    "twice": lambda p: _edit(p, lambda m: m["variables"].append(m["variables"][0])),
    "lying shape": lambda p: _edit(p, lambda m: [v.update(shape=[1, 2]) for v in m["variables"]]),
    "huge": lambda p: _edit(p, lambda m: m["variables"][0].update(shape=[2**62, 2**62])),
    "entry": lambda p: _edit(p, lambda m: m["variables"][0].update(entry="../../etc/passwd")),
    "dtype": lambda p: _edit(p, lambda m: m["variables"][0].update(dtype="object")),
    "count": lambda p: _edit(p, lambda m: m.update(run_count=-1)),
    "large count": lambda p: _edit(p, lambda m: m.update(run_count=2**64)),
    "large seed": lambda p: _edit(p, lambda m: m.update(seed=2**64)),
    "not a manifest": lambda p: _edit(p, lambda m: m.clear()),
}
CASES = [(s, k, f) for s in SUFFIXES for k, f in DAMAGE.items() if (s, k) != (".safetensors", "flipped")]
CASES += [(".npz", key, damage) for key, damage in NPZ_DAMAGE.items()]


@pytest.mark.parametrize(
    ("suffix", "damage"), [(s, f) for s, _, f in CASES], ids=[f"{s}-{k}" for s, k, _ in CASES]
)
def test_a_damaged_or_foreign_file_is_a_clear_error(tmp_path, suffix, damage):
    path = tmp_path / f"c{suffix}"
    graph = build()
    session = opened(graph)
    session.save(path)
    damage(path)
    with pytest.raises(gc.FormatError, match=rf"c\{suffix}"):
        session.restore(path)
    assert session.run(["w", "v"])[1].tolist() == [2, 2]


def test_a_foreign_safetensors_file(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(2, "f4")}, tmp_path / "c.safetensors")
    with pytest.raises(gc.FormatError, match="no manifest"):
        opened(build()).restore(tmp_path / "c.safetensors")


def test_paths(tmp_path):
    session = opened(build())
    for wrong in ("c.pkl", "c", "c.npz.bak"):
        with pytest.raises(gc.ArgumentError, match=r"\.npz or \.safetensors"):
            session.save(tmp_path / wrong)
        with pytest.raises(gc.ArgumentError):
            session.restore(tmp_path / wrong)
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError):
            session.restore(tmp_path / f"none{suffix}")
        with pytest.raises(OSError, match="nowhere"):
            session.save(tmp_path / f"nowhere/c{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"c{suffix}"
    session = opened(build())
    session.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        session.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_offsets_that_lead_out_of_the_file(tmp_path):
    path = tmp_path / "c.npz"
    session = opened(build())
    session.save(path)
    whole = path.read_bytes()
    found = whole.rindex(b"PK\x05\x06")  # the end of the directory: its size and its offset follow
    for place in range(found + 12, found + 20):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(gc.FormatError):
                session.restore(path)


def test_an_entry_that_occurs_twice(tmp_path):
    path = tmp_path / "c.npz"
    session = opened(build())
    session.save(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("w.npy", archive.read("v.npy"))
    with pytest.raises(gc.FormatError, match="an entry occurs twice"):
        session.restore(path)


def test_an_entry_that_is_too_large_is_not_even_read(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    session = opened(build())
    session.save(path)
    more = {"w.npy": bytes(1 << 20)}
    _rewrite(path, lambda m: m.update({name: m[name] + more[name] for name in more}), zipfile.ZIP_DEFLATED)
    read, seen = zipfile.ZipFile.read, []
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, name: seen.append(name) or read(self, name))
    with pytest.raises(gc.FormatError, match=r"'w' has \d+ bytes, not 8"):
        session.restore(path)
    assert seen == ["graphc.json"]


def test_columns_may_come_first_in_what_another_tool_wrote(tmp_path):
    path, turned = tmp_path / "c.npz", io.BytesIO()
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(turned, np.asfortranarray(array))
    session = opened(build(shape=(2, 3)))
    session.save(path)
    _rewrite(path, lambda members: members.update({"w.npy": turned.getvalue()}))
    session.restore(path)
    np.testing.assert_array_equal(session.run("w"), array)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_restored_is_not_handed_out(tmp_path, suffix, each_backend):
    path = tmp_path / f"c{suffix}"
    session = opened(build())
    session.save(path)
    session.restore(path)
    session.run("w")[:] = 7
    assert session.run("w").tolist() == [1, 1]


def counted(names):
    """A session with variables of these `names` and values, counts among them."""
    with gc.Graph().as_default() as graph:
        for name, value in names.items():
            gc.Variable(
                np.int64(value) if name.endswith("count") else np.full(2, value, np.float32), name=name
            )
    return opened(graph)


def trained():
    with gc.Graph().as_default() as graph:
        a, b = gc.Variable([1.0, 2.0], name="a"), gc.Variable([3.0, 4.0], name="b")
        step = gc.train.Adam(0.5).minimize(gc.sum(a * b))
    return graph, step


SLOTS = {"a": 1, "b": 2, "a/Adam/m": 3, "a/Adam/v": 4, "b/Adam/m": 5, "b/Adam/v": 6}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_counts_of_single_variables_stand_for_that_of_all(tmp_path, suffix):
    path = tmp_path / f"c{suffix}"
    counted({**SLOTS, "a/Adam/count": 7, "b/Adam/count": 7}).save(path)
    graph, step = trained()
    with gc.Session(graph=graph) as session:
        session.restore(path)
        assert session.run("Adam/count") == 7
        session.run(step)
        assert session.run("Adam/count") == 8
        session.save(path)
        session.restore(path)
        assert session.run("Adam/count") == 8


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"a/Adam/count": 7, "b/Adam/count": 8},  # which of them?
        {"c/Adam/count": 7},  # of no variable that is there
        {"a/Adam/counter": 7},
    ],
)
def test_counts_that_stand_for_nothing(tmp_path, counts):
    path = tmp_path / "c.npz"
    counted({**SLOTS, **counts}).save(path)
    graph, _ = trained()
    with gc.Session(graph=graph) as session:
        with pytest.raises(gc.FormatError, match=r"variable 'Adam/count'.* is not in it"):
            session.restore(path)
        with pytest.raises(gc.UninitializedError):
            session.run("a")


def test_save_names_the_variables_without_a_value(tmp_path, each_backend):
    with gc.Graph().as_default():
        v, w = gc.Variable(1.0, name="v"), gc.Variable(2.0, name="w")
        with gc.Session() as session:
            session.run(v.initializer)
            with pytest.warns(RuntimeWarning, match="save: 'w' without a value, not written: run ") as told:
                session.save(tmp_path / "some.npz")
            assert told[0].filename == __file__
        with gc.Session() as session:
            session.restore(tmp_path / "some.npz", [v])
            with pytest.raises(gc.FormatError, match="w"):
                session.restore(tmp_path / "some.npz", [w])
            session.run(w.initializer)
            session.save(tmp_path / "all.npz")  # without a warning, which would be an error here
