"""Graphs in files: `save_graph` and `load_graph` (one checked file), `dump` (by suffix, for people).

A graph file is a ZIP archive of uncompressed members: ``graph.gir`` (the text), ``c0.npy``, ... (its
large constants, no pickles) and ``manifest.json`` (version, seed, a SHA-256 of every other member).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from graphc.atomic import write_atomically
from graphc.dot import draw_dot
from graphc.errors import ArgumentError, FormatError
from graphc.function import Function, bodies, topological
from graphc.graph import Graph
from graphc.ops.python import python_functions
from graphc.parsing import parse
from graphc.tensor import Tensor
from graphc.text import as_function, spell_function
from graphc.variable import Variable

Pathlike = str | os.PathLike[str]

_FORMAT, _VERSION = "graphc graph", 1
_MEMBER = re.compile(r"graph\.gir|manifest\.json|c[0-9]{1,9}\.npy")
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def save_graph(fetches: Any, path: Pathlike) -> None:
    """Writes what `fetches` reach, or a whole Graph, to the file `path`, all of it or nothing.

    Variables go with it under their names, with how their initial values are made (not their values
    in a session, which `session.save` writes); names, the seed and the user's lines are kept.

    Raises: FetchError for what cannot be fetched; ArgumentError for what no file can hold, such as
    a Python function; OSError.
    """
    function = as_function(fetches)
    variables = _variables(function, fetches if isinstance(fetches, Graph) else None)
    function = _with_placeholders(function, variables)
    text, data, opaque = spell_function(function, variables)
    opaque += python_functions(function)
    if opaque:
        raise ArgumentError(
            f"save_graph: no file can hold {opaque[0]!r}, which the graph has for an attribute"
        )
    members = {"graph.gir": text.encode(), **{f"{key}.npy": _npy(array) for key, array in data.items()}}
    manifest = {
        "format": _FORMAT,
        "version": _VERSION,
        "seed": _seed(function, variables, fetches),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    }
    members["manifest.json"] = json.dumps(manifest, indent=1).encode()

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content)  # no time of day: equal graphs, equal files

    write_atomically(path, write)


def load_graph(path: Pathlike) -> Graph:
    """The graph in the file `path`, as `save_graph` or ``dump(..., "m.gir")`` wrote it.

    It holds its Function; its tensors and variables are found, run, fed and restored by name.

    Raises: FormatError for a file that is damaged, cut, foreign or of another version; OSError.
    """
    if Path(path).suffix == ".gir" and not zipfile.is_zipfile(path):  # `save_graph` takes any suffix
        return _load_text(Path(path))
    members = _read_members(path)
    try:
        manifest = json.loads(members.pop("manifest.json"))
        if manifest["format"] != _FORMAT:
            raise FormatError("it is another kind of file")
        if manifest["version"] != _VERSION:
            raise FormatError(f"it has version {manifest['version']!r}, and this graphc reads {_VERSION}")
        found = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
        if manifest["sha256"] != found:
            raise FormatError("it is damaged: a checksum differs")
        seed = manifest["seed"]
        if seed is not None and (type(seed) is not int or not -(2**63) <= seed < 2**64):
            raise FormatError("its seed is no number")
        text = members.pop("graph.gir").decode()
    except (FormatError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise FormatError(f"{os.fspath(path)} is not a graph file: {_reason(error)}") from error
    data = {name.removesuffix(".npy"): _array(path, name, content) for name, content in members.items()}
    return _parse(path, text, data, seed)


def dump(fetches: Any, path: Pathlike) -> None:
    """Writes `fetches`, a Function or a Graph to `path` as text, in the form that the suffix names.

    ``.gir``: what `parse` reads, large constants beside it in an ``.npz`` of the same name. ``.dot``:
    Graphviz. ``gc.dump`` writes other forms too.

    Raises: ArgumentError for another suffix; FetchError; OSError.
    """
    target = Path(path)
    if target.suffix not in _DUMPERS:
        known = ", ".join(_DUMPERS)
        raise ArgumentError(f"dump: {target.name!r} has the suffix {target.suffix!r}; known are {known}")
    _DUMPERS[target.suffix](fetches, target)


def _dump_text(fetches: Any, target: Path) -> None:
    variables = fetches.variables.values() if isinstance(fetches, Graph) else ()
    text, data, _ = spell_function(as_function(fetches), variables)
    if data:
        write_atomically(target.with_suffix(".npz"), lambda file: np.savez(file, **data))  # type: ignore[arg-type]  # numpy's stub takes the names for options
    write_atomically(target, lambda file: write_text(file, text + "\n"))


def _dump_dot(fetches: Any, target: Path) -> None:
    write_atomically(target, lambda file: write_text(file, draw_dot(as_function(fetches))))


_DUMPERS = {".gir": _dump_text, ".dot": _dump_dot}


def write_text(file: BinaryIO, text: str) -> None:
    """Writes `text`, in which lone surrogates, which no encoding has, are question marks."""
    file.write(text.encode("utf-8", "replace"))


# What a file holds of a graph.


def _variables(function: Function, graph: Graph | None) -> list[Variable]:
    """The variables that `function` and their initial values use, in order of definition; all of `graph`."""
    homes = {} if graph is None else {graph: None}
    found = dict.fromkeys(v for home in homes for v in home.variables.values())
    roots = [*function.outputs, *function.effects, *(v.initializer for v in found if v.has_initial_value)]
    seen: set[Tensor] = set()
    while roots:
        nodes = [node for node in topological(roots, stop=seen.__contains__) if node not in seen]
        seen.update(nodes)
        roots = []
        for node in nodes:
            roots += [root for _, body in bodies(node) for root in (*body.outputs, *body.effects)]
            if node.op.name not in ("variable", "assign") or node.owner is None:
                continue
            name = node.attrs["name" if node.op.name == "variable" else "variable"]
            variable = node.owner.root.variables.get(name)
            if variable is not None and variable not in found:
                found[variable] = None
                homes[variable.graph] = None
                roots += [variable.initializer] if variable.has_initial_value else []
    return [v for home in homes for v in home.variables.values() if v in found]


def _with_placeholders(function: Function, variables: Iterable[Variable]) -> Function:
    """`function` with the placeholders that initial values need among its inputs."""
    initial = [v.initializer for v in variables if v.has_initial_value]
    reached = topological(initial, first=function.inputs)
    missing = [n for n in reached if n.op.name == "placeholder" and n not in function.inputs]
    return replace(function, inputs=(*function.inputs, *missing)) if missing else function


def _seed(function: Function, variables: Iterable[Variable], fetches: Any) -> int | None:
    graphs = [fetches] if isinstance(fetches, Graph) else [v.graph for v in variables]
    graphs += [node.owner for node in (*function.outputs, *function.effects) if node.owner is not None]
    return next((graph.root.seed for graph in graphs if graph.root.is_seeded), None)


# Reading, with no trust in what is read.


def _read_members(path: Pathlike) -> dict[str, bytes]:
    """The members of the archive `path`; no more bytes than the file has."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
                for info in infos:
                    if not _MEMBER.fullmatch(info.filename):
                        raise FormatError(f"it has a member {info.filename[:60]!r}")
                    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                        raise FormatError(f"its member {info.filename!r} is compressed")
                if len({info.filename for info in infos}) < len(infos):
                    raise FormatError("it has one member twice")
                if sum(info.file_size for info in infos) > size:
                    raise FormatError("its members are larger than the file")
                return {info.filename: archive.read(info) for info in infos}
        except Exception as error:  # zipfile fails in many ways on what is no archive
            raise FormatError(f"{os.fspath(path)} is not a graph file: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error) or type(error).__name__


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array, order="C"), allow_pickle=False)
    return stream.getvalue()


def _array(path: Pathlike, name: str, content: bytes) -> np.ndarray[Any, Any]:
    """The array in a member; its header is believed only where it accounts for every byte."""
    try:
        stream = io.BytesIO(content)
        shape, by_column, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        if dtype.kind not in "biuf" or any(n < 0 for n in shape):
            raise ValueError(f"an array of {dtype}")
        if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
            raise ValueError("its size is not that of its header")
        flat = np.frombuffer(content, dtype, offset=stream.tell())
        return flat.reshape(shape, order="F" if by_column else "C")
    except Exception as error:  # NumPy fails in many ways on what is no array
        raise FormatError(f"{os.fspath(path)}: {name} is not an array: {_reason(error)}") from error


def _load_text(path: Path) -> Graph:
    beside = path.with_suffix(".npz")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not a text: {error}") from error
    data = {}
    if "@" in text and beside.exists():
        data = {
            name.removesuffix(".npy"): _array(beside, name, content)
            for name, content in _read_members(beside).items()
        }
    return _parse(path, text, data, None)


def _parse(path: Pathlike, text: str, data: Mapping[str, Any], seed: int | None) -> Graph:
    try:
        return parse(text, data, seed)
    except FormatError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from error
