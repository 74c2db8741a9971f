"""Checkpoint: the values of variables in a file, checked before anything of it is used.

Both forms hold a manifest (JSON) that says, for each variable, its name, dtype and shape and under
which entry its array lies: ``.npz`` in the member ``graphc.json``, ``.safetensors`` in its metadata.
An entry bears the variable's name where that is safe in a file, so that other tools find it too.
Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import json
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from graphc.alignment import aligned
from graphc.atomic import write_atomically
from graphc.errors import ArgumentError, DTypeError, FormatError
from graphc.freezing import frozen
from graphc.graph import Graph
from graphc.sizes import SizeExpr
from graphc.suggestion import suggest
from graphc.types import INT64, DType, TensorType, as_dtype
from graphc.variable import Variable
from runtime.backend import Array

_MANIFEST = "graphc.json"
_FORMAT, _VERSION = "graphc checkpoint", 1
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*")
_HEADER_ROOM = 1 << 16  # more than any header of an array takes
_RESERVED = "__metadata__"
_COUNT, _COUNT_NAME = TensorType(INT64, ()), re.compile(r".+/count(_[0-9]+)?")  # of updates, by optimizers


@frozen
class Checkpoint:
    """What is saved: arrays and dtypes by the names of variables, and the run count and seed."""

    values: Mapping[str, Array]
    dtypes: Mapping[str, DType]
    run_count: int
    seed: int


@frozen
class _Entry:
    name: str
    dtype: DType
    shape: tuple[int, ...]
    entry: str


Fetch = Callable[[_Entry], Array]


def choose_variables(graph: Graph, given: Sequence[Any] | None) -> list[Variable]:
    """The variables of `graph` that `given` (Variables and names; None: all) means.

    Raises: ArgumentError, UnknownNameError.
    """
    if given is None:
        return list(graph.variables.values())
    if not isinstance(given, list | tuple | set | frozenset):
        raise ArgumentError(f"variables are a list of variables or names, not {given!r}")
    chosen = []
    for item in given:
        if isinstance(item, str) and item not in graph.variables:
            graph.get_tensor(item)  # raises for an unknown name
        variable = graph.variables.get(item) if isinstance(item, str) else item
        if not isinstance(variable, Variable) or variable.graph is not graph:
            raise ArgumentError(f"{item!r} is no variable of the session's graph")
        chosen.append(variable)
    return list(dict.fromkeys(chosen))


# Writing.


def save_values(
    path: str | os.PathLike[str], graph: Graph, values: Mapping[str, Array], run_count: int, seed: int
) -> None:
    """As `Session.save`, whose caller it warns of variables of `graph` without a value."""
    missing = [name for name in graph.variables if name not in values]
    if missing:
        names = ", ".join(map(repr, missing[:4])) + (", ..." if len(missing) > 4 else "")
        text = f"save: {names} without a value, not written: run gc.global_variables_initializer() first"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    types = {name: graph.variables[name].dtype for name in values}
    write_checkpoint(path, Checkpoint(values, types, run_count, seed))


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Writes `checkpoint` in the form that the suffix of `path` says, whole or not at all.

    Raises: ArgumentError for another suffix; OSError.
    """
    _FORMS[_suffix(path)].write(path, checkpoint)


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = os.path.splitext(os.fspath(path))[1]
    if suffix not in _FORMS:
        raise ArgumentError(
            f"a checkpoint's name ends in {' or '.join(_FORMS)}, and {os.fspath(path)!r} does not"
        )
    return suffix


def _manifest(checkpoint: Checkpoint) -> tuple[str, dict[str, str]]:
    """The manifest as text, and the entry of each variable."""
    entries: dict[str, str] = {}
    for i, name in enumerate(checkpoint.values):
        safe = _SAFE_NAME.fullmatch(name) and len(name) < 200 and name not in (_MANIFEST, _RESERVED)
        entries[name] = name if safe else f"{i}:unsafe name"
    variables = [
        {
            "name": name,
            "dtype": checkpoint.dtypes[name].name,
            "shape": list(array.shape),
            "entry": entries[name],
        }
        for name, array in checkpoint.values.items()
    ]
    manifest = {
        "format": _FORMAT,
        "version": _VERSION,
        "run_count": checkpoint.run_count,
        "seed": checkpoint.seed,
        "variables": variables,
    }
    return json.dumps(manifest), entries


def _write_npz(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    text, entries = _manifest(checkpoint)

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(_MANIFEST, text)
            for name, array in checkpoint.values.items():
                with archive.open(entries[name] + ".npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    write_atomically(path, write)


def _write_safetensors(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    save = _safetensors().numpy.save
    text, entries = _manifest(checkpoint)
    arrays = {
        entries[name]: np.ascontiguousarray(a).reshape(a.shape) for name, a in checkpoint.values.items()
    }
    data = save(arrays, metadata={"graphc": text})

    def write(file: BinaryIO) -> None:
        file.write(data)

    write_atomically(path, write)


def _safetensors() -> Any:
    try:
        import safetensors.numpy  # an extra, needed for this form alone
    except ImportError as error:
        raise ImportError(
            "a .safetensors file needs the library safetensors: pip install 'graphc[safetensors]'"
        ) from error
    return safetensors


# Reading.


def read_checkpoint(path: str | os.PathLike[str], wanted: Mapping[str, TensorType]) -> Checkpoint:
    """The values of `wanted` from the file at `path`, read-only; what else it holds is ignored.

    Raises: FormatError for a damaged or foreign file, and where names are missing or dtypes or shapes
    are others (all of them are listed); ArgumentError for an unknown suffix; OSError.
    """
    form = _FORMS[_suffix(path)]
    try:
        return form.read(path, wanted)
    except FormatError as error:
        error.extend(f"in {os.fspath(path)!r}")
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        raise FormatError(f"{os.fspath(path)!r} is no checkpoint, or a damaged one: {error}") from error
    except (NotImplementedError, RuntimeError, RecursionError, MemoryError, SyntaxError) as error:
        raise FormatError(f"{os.fspath(path)!r} is no checkpoint, or a damaged one: {error}") from error


def _read_npz(path: str | os.PathLike[str], wanted: Mapping[str, TensorType]) -> Checkpoint:
    with open(path, "rb") as file, _archive(file) as archive:
        members = [info.filename for info in archive.infolist()]
        if _MANIFEST not in members:
            raise FormatError(f"it is no checkpoint of graphc: there is no {_MANIFEST} in it")
        if len(set(members)) < len(members):
            raise FormatError("an entry occurs twice in it")

        def fetch(entry: _Entry) -> Array:
            info = archive.getinfo(entry.entry + ".npy")
            size = int(np.prod(entry.shape, dtype=np.int64)) * entry.dtype.numpy.itemsize
            if not size <= info.file_size <= size + _HEADER_ROOM:
                raise FormatError(f"the entry of {entry.name!r} has {info.file_size} bytes, not {size}")
            return _parse_array(archive.read(info), entry)

        return _select(archive.read(_MANIFEST), wanted, fetch)


@contextmanager
def _archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """`file` as an archive; offsets that lead out of it are damage, not an error of the system."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except OSError as error:
        raise FormatError(f"it is damaged, or cannot be read: {error}") from error


def _parse_array(data: bytes, entry: _Entry) -> Array:
    """The array in `data`, whose header must say what the manifest says."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise FormatError(f"the entry of {entry.name!r} is of an unknown version of NumPy's format")
    shape, fortran_order, dtype = read_header[version](stream)
    if shape != entry.shape or dtype != entry.dtype.numpy:
        raise FormatError(
            f"the entry of {entry.name!r} is {dtype}{list(shape)}, and the manifest says "
            f"{TensorType(entry.dtype, entry.shape)}"
        )
    flat = np.frombuffer(stream.read(), dtype)
    return flat.reshape(shape, order="F" if fortran_order else "C").astype(dtype.type, order="C")


def _read_safetensors(path: str | os.PathLike[str], wanted: Mapping[str, TensorType]) -> Checkpoint:
    library = _safetensors()
    with open(path, "rb"):  # an error of the system, such as a missing file, stays what it is
        pass
    try:
        with library.safe_open(os.fspath(path), framework="numpy") as file:
            text = (file.metadata() or {}).get("graphc")
            if text is None:
                raise FormatError("it is no checkpoint of graphc: there is no manifest in its metadata")
            return _select(text, wanted, lambda entry: np.array(file.get_tensor(entry.entry)))
    except library.SafetensorError as error:
        raise FormatError(f"it is no checkpoint, or a damaged one: {error}") from error


def _select(text: str | bytes, wanted: Mapping[str, TensorType], fetch: Fetch) -> Checkpoint:
    """What `wanted` names of the file whose manifest is `text`; `fetch` reads one entry."""
    manifest = json.loads(text)
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise FormatError("its manifest is not that of a checkpoint of graphc")
    if manifest.get("version") != _VERSION:
        raise FormatError(f"its version is {manifest.get('version')!r}, and this graphc reads {_VERSION}")
    entries = _entries(manifest["variables"])
    earlier = _earlier_counts(entries, wanted)
    entries.update({name: found[0] for name, found in earlier.items()})
    run_count, seed = manifest["run_count"], manifest["seed"]
    if not all(type(n) is int and 0 <= n < 2**64 for n in (run_count, seed)):
        raise FormatError("its run count or seed is no number")
    problems = [found for name, type in wanted.items() if (found := _problem(name, type, entries))]
    if problems:
        raise FormatError("\n  ".join(("the checkpoint does not fit the graph:", *problems)))
    values = {}
    for name in wanted:
        array = fetch(entries[name])
        if array.shape != entries[name].shape or array.dtype != entries[name].dtype.numpy:
            raise FormatError(f"the array of {name!r} is not what the manifest says")
        if any(fetch(other) != array for other in earlier.get(name, ())):
            raise FormatError(f"variable {name!r} is not in it, and the counts of single variables differ")
        values[name] = aligned(array)
        values[name].flags.writeable = False
    return Checkpoint(values, {name: entries[name].dtype for name in wanted}, run_count, seed)


def _entries(listed: Any) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for item in listed:
        name, shape, entry = item["name"], item["shape"], item["entry"]
        if not (isinstance(name, str) and isinstance(entry, str) and isinstance(shape, list)):
            raise FormatError("its manifest is damaged")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise FormatError(f"its manifest gives {name!r} the shape {shape}")
        if name in entries:
            raise FormatError(f"two variables in it are named {name!r}")
        try:
            dtype = as_dtype(item["dtype"])
        except DTypeError:
            raise FormatError(f"its manifest gives {name!r} the dtype {item['dtype']!r}") from None
        entries[name] = _Entry(name, dtype, tuple(shape), entry)
    return entries


def _earlier_counts(
    entries: Mapping[str, _Entry], wanted: Mapping[str, TensorType]
) -> dict[str, list[_Entry]]:
    """For each count of updates that is not among `entries`: those that stand for it.

    Optimizers had a count for each variable, ``w/Adam/count``, before they had one for all, ``Adam/count``.
    """
    found: dict[str, list[_Entry]] = {}
    for name, type in wanted.items():
        if name not in entries and type == _COUNT and _COUNT_NAME.fullmatch(name):
            owners = (other.removesuffix(f"/{name}") for other in entries if other.endswith(f"/{name}"))
            each = [entries[f"{owner}/{name}"] for owner in owners if owner in entries]
            if each:
                found[name] = each
    return found


def _problem(name: str, type: TensorType, entries: Mapping[str, _Entry]) -> str | None:
    """Why the entry for the variable `name` of `type` cannot be used."""
    entry = entries.get(name)
    if entry is None:
        return f"variable {name!r} ({type}) is not in it{suggest(name, entries)}"
    wanted = type.sizes
    fits = len(wanted) == len(entry.shape) and all(
        isinstance(size, SizeExpr) or size == given for size, given in zip(wanted, entry.shape, strict=True)
    )
    if fits and entry.dtype is type.dtype:
        return None
    return f"variable {name!r} is {type}, and {TensorType(entry.dtype, entry.shape)} in the checkpoint"


@frozen
class _Form:
    write: Callable[[str | os.PathLike[str], Checkpoint], None]
    read: Callable[[str | os.PathLike[str], Mapping[str, TensorType]], Checkpoint]


_FORMS = {
    ".npz": _Form(_write_npz, _read_npz),
    ".safetensors": _Form(_write_safetensors, _read_safetensors),
}
