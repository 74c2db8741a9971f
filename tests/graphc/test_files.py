"""Graph files come back whole; damaged and hostile ones are refused; a failed write leaves nothing."""

import contextlib
import io
import json
import os
import stat
import zipfile

import numpy as np
import pytest

import graphc as gc
from graphc import atomic
from graphc.atomic import write_atomically
from graphc.files import dump, load_graph, save_graph
from graphc.text import show


@pytest.fixture
def graph():
    with gc.Graph(seed=5).as_default() as graph:
        x = gc.placeholder("float32", ("batch", 6), name="x")
        w = gc.Variable(np.linspace(-1, 1, 30, dtype="float32").reshape(6, 5), name="w")
        b = gc.Variable(w.initial_value[0] * 2.0, name="b", trainable=False)
        gc.exp(x @ w + b, name="out")
        yield graph


@pytest.fixture
def path(graph, tmp_path):
    save_graph(graph, tmp_path / "m.graph")
    return tmp_path / "m.graph"


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items() if isinstance(contents, dict) else contents:
            archive.writestr(name, content)


def refused(path, message="graph file"):
    with pytest.raises(gc.FormatError, match=message) as caught:
        load_graph(path)
    assert path.name in str(caught.value)


def test_a_graph_comes_back_with_names_variables_and_seed(graph, path):
    read = load_graph(path)
    assert show(read) == show(graph)
    assert read.seed == 5
    assert read.is_seeded
    assert read.get_tensor("out").shape == ("batch", 5)
    assert [(v.name, v.trainable) for v in read.variables.values()] == [("w", True), ("b", False)]
    gc.verify(read.function)


def test_fetches_take_the_variables_that_they_need_along(graph, tmp_path):
    gc.Variable(0.0, name="unused")
    b = graph.variables["b"]
    flag = gc.placeholder("bool", (), name="flag")
    save_graph({"y": gc.cond(flag, lambda: b * 2.0, lambda: b.assign(b + 1.0))}, tmp_path / "m.graph")
    read = load_graph(tmp_path / "m.graph")
    assert list(read.variables) == ["b"]
    assert read.variables["b"].has_initial_value
    assert read.get_tensor("flag") in read.function.inputs


def test_a_graph_without_a_seed_has_none_in_its_file(tmp_path):
    with gc.Graph().as_default():
        save_graph(gc.constant(1.0, name="one"), tmp_path / "m.graph")
    assert json.loads(members(tmp_path / "m.graph")["manifest.json"])["seed"] is None


def test_saving_what_was_loaded_gives_the_same_bytes(path, tmp_path):
    save_graph(load_graph(path), tmp_path / "again.graph")
    assert (tmp_path / "again.graph").read_bytes() == path.read_bytes()


def test_what_is_no_tensor_is_not_saved(tmp_path):
    with pytest.raises(gc.FetchError):
        save_graph([3], tmp_path / "m.graph")
    assert not os.listdir(tmp_path)


def test_cut_files_are_refused(path):
    whole = path.read_bytes()
    for length in [0, 1, 10, len(whole) // 2, len(whole) - 30, len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path)


def test_changed_bytes_are_refused_or_change_nothing(graph, path):
    whole, text = path.read_bytes(), show(graph)
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with contextlib.suppress(gc.FormatError):
            assert show(load_graph(path)) == text


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x05\x06" + bytes(18), b"\x80\x04]\x94.", bytes(1000)]
)
def test_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "m.graph").write_bytes(content)
    refused(tmp_path / "m.graph", "is not a graph file")


def test_a_missing_file_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_graph(tmp_path / "none.graph")


def test_a_changed_member_is_refused(path):
    contents = members(path)
    contents["graph.gir"] = contents["graph.gir"].replace(b"exp", b"log")
    rewrite(path, contents)
    refused(path, "a checksum differs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "it has version 2, and this graphc reads 1"),
        ({"version": None}, "version None"),
        ({"format": "other"}, "another kind of file"),
        ({"seed": "5"}, "its seed is no number"),
        ({"seed": True}, "its seed is no number"),
        ({"seed": 10**400}, "its seed is no number"),
        ({"sha256": None}, "a checksum differs"),
        ({"sha256": {}}, "a checksum differs"),
    ],
)
def test_odd_manifests_are_refused(path, change, message):
    contents = members(path)
    contents["manifest.json"] = json.dumps({**json.loads(contents["manifest.json"]), **change}).encode()
    rewrite(path, contents)
    refused(path, message)


@pytest.mark.parametrize("manifest", [b"", b"[]", b"3", b"{}", b"\xff", b"[" * 100_000])
def test_manifests_that_are_none_are_refused(path, manifest):
    rewrite(path, {**members(path), "manifest.json": manifest})
    refused(path)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "c0.npy/../x", "c1.pkl", "x.npy", "C:\\x"])
def test_members_of_other_names_are_refused(path, name, tmp_path):
    rewrite(path, {**members(path), name: b"x"})
    refused(path, "it has a member")
    assert os.listdir(tmp_path) == ["m.graph"]


def test_a_member_twice_is_refused(path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewrite(path, [*members(path).items(), ("graph.gir", b"graph() {\n  return\n}")])
    refused(path, "one member twice")


def test_compressed_members_are_refused_before_they_grow(path):
    rewrite(path, {**members(path), "c1.npy": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    refused(path, "is compressed")


def test_declared_sizes_are_not_believed(path):
    whole = bytearray(path.read_bytes())
    at = whole.rindex(b"PK\x01\x02")
    whole[at + 20 : at + 28] = b"\xf0\xff\xff\x7f" * 2
    path.write_bytes(whole)
    refused(path)


def array_file(path, content):
    """The file with `content` for its first constant, and checksums that are right."""
    import hashlib

    contents = {**members(path), "c0.npy": content}
    manifest = json.loads(contents.pop("manifest.json"))
    manifest["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    rewrite(path, {**contents, "manifest.json": json.dumps(manifest)})


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        npy(np.array([{}], object), allow_pickle=True),
        npy(np.array(["a"])),
        npy(np.zeros(3)) + b"more",
        npy(np.zeros(30))[:-1],
        npy(np.zeros(8)).replace(b"(8,)", b"(-8)"),
        npy(np.zeros(10)).replace(b"(10,), }    ", b"(9**99,), } "),
        npy(np.zeros(10)).replace(b"(10,), }          ", b"(9999999999999,), }"),
    ],
)
def test_constants_that_are_none_are_refused(path, content):
    array_file(path, content)
    refused(path, "c0.npy is not an array")


def test_a_constant_of_another_shape_is_refused(path):
    array_file(path, npy(np.zeros(30, "float32")))
    refused(path, r"line \d+: the text says f32\[6,5\], the op says f32\[30\]")


# Dumps.


def test_a_dumped_text_has_its_constants_beside(graph, tmp_path):
    dump(graph, tmp_path / "m.gir")
    assert sorted(os.listdir(tmp_path)) == ["m.gir", "m.npz"]
    assert (tmp_path / "m.gir").read_text() == show(graph) + "\n"
    assert show(load_graph(tmp_path / "m.gir")) == show(graph)
    with np.load(tmp_path / "m.npz") as arrays:
        assert arrays["c0"].shape == (6, 5)


def test_a_dump_without_large_constants_is_one_file(tmp_path):
    with gc.Graph().as_default():
        dump(gc.constant(1.0, name="имя"), str(tmp_path / "m.gir"))
    assert os.listdir(tmp_path) == ["m.gir"]
    assert load_graph(tmp_path / "m.gir").get_tensor("имя").shape == ()


def test_a_text_whose_constants_are_damaged_is_refused(graph, tmp_path):
    dump(graph, tmp_path / "m.gir")
    (tmp_path / "m.npz").write_bytes(b"PK")
    with pytest.raises(gc.FormatError, match=r"m\.npz"):
        load_graph(tmp_path / "m.gir")
    (tmp_path / "m.npz").unlink()
    refused(tmp_path / "m.gir", "@c0 is not among the arrays")
    (tmp_path / "m.gir").write_bytes(b"\xff\xfe")
    refused(tmp_path / "m.gir", "is not a text")


def test_a_picture_for_graphviz(tmp_path):
    with gc.Graph().as_default():
        x = gc.placeholder("float32", (2,), name='a "b" \\ \n')
        dump(gc.cond(gc.constant(True), lambda: gc.exp(x), lambda: x), tmp_path / "m.dot")
    text = (tmp_path / "m.dot").read_text()
    assert text.startswith("digraph")
    assert r"placeholder a \"b\" \\ \n\nf32[2]" in text
    assert text.count("subgraph") == 2


@pytest.mark.parametrize("name", ["m.svg", "m", "m.GIR", "m.txt"])
def test_an_unknown_suffix_lists_the_known_ones(graph, tmp_path, name):
    with pytest.raises(gc.ArgumentError, match=r"known are \.gir, \.dot"):
        dump(graph, tmp_path / name)
    assert not os.listdir(tmp_path)


# Writing atomically.


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "f").write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "f", write)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_who_interrupts_right_after_the_file_is_made_leaves_none(tmp_path, monkeypatch):
    def made(path, mode):
        open(path, mode).close()
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "open", made, raising=False)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", lambda file: None)
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_or_a_device_takes_what_is_written_and_stays_one(tmp_path):
    """Root who dumps to /dev/null keeps it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(tmp_path / "link", lambda file: file.write(b"whole"))
        assert os.read(reader, 100) == b"whole"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_folder_in_the_way_is_an_oserror(tmp_path):
    (tmp_path / "f").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "f", lambda file: file.write(b"x"))
    assert os.listdir(tmp_path) == ["f"]
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "f", lambda file: file.write(b"x"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither these permissions nor plain links")
def test_permissions_and_links_are_kept(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(0o640)
    (tmp_path / "link").symlink_to("f")
    write_atomically(tmp_path / "link", lambda file: file.write(b"new"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "f").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640
