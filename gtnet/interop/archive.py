"""Graphs on disk: every array of a batch in an .npz or .safetensors file, never a pickle."""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gtnet._files import PathLike, checksum, name_of, replace_file
from gtnet.graph import Graph, built
from gtnet.interop import arrays as arrays_of

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

_FORMAT, _VERSION = "gtnet graph", 1
_HEADER = "header"  # the npz member that safetensors keeps as metadata
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,  # also RecursionError, of JSON
    OSError,
    SyntaxError,
    tokenize.TokenError,
)


def save(graph: Graph | Lattice, path: PathLike) -> None:
    """Write a batch of graphs to a file, all or nothing.

    The suffix chooses the format: `.npz` (numpy) or `.safetensors` (needs that package). Both hold
    the arrays of `interop.arrays.to_numpy`, a version and a checksum. Scores are detached;
    `arc_maps` and `state_maps` are not kept.
    Raises ValueError for another suffix, ImportError without safetensors. Complexity: O(size).
    """
    graph = built("save", "graph", graph)
    suffix = _suffix("save", path)
    arrays = arrays_of.to_numpy(graph)
    if graph.is_acceptor:
        del arrays["olabels"]
    header = {"format": _FORMAT, "version": str(_VERSION), "crc32": str(checksum(arrays))}
    if suffix == ".npz":
        data = io.BytesIO()
        text = np.frombuffer(json.dumps(header).encode(), np.uint8)
        np.savez(data, allow_pickle=False, **{_HEADER: text}, **arrays)
        replace_file(path, data.getvalue())
    else:
        from safetensors.numpy import save as to_bytes

        replace_file(path, to_bytes(arrays, header))


def load(path: PathLike) -> Graph:
    """Read a batch of graphs that `save` wrote, on the cpu, its scores leaf tensors.

    Raises ValueError for any other file, for one of a later version, truncated or damaged, and for
    a suffix that `save` does not take. Complexity: O(size).
    """
    suffix = _suffix("load", path)
    data = Path(path).read_bytes()
    try:
        header, arrays = _from_npz(data) if suffix == ".npz" else _from_safetensors(data)
        if header.get("format") != _FORMAT:
            raise ValueError("it was not written by gtnet.save")
        if header.get("version") != str(_VERSION):
            raise ValueError(
                f"it has version {header.get('version')}, this gtnet reads {_VERSION}: update gtnet"
            )
        if header.get("crc32") != str(checksum(arrays)):
            raise ValueError("its checksum is wrong, the file is damaged")
        return arrays_of.checked("load", arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(f"load: cannot read {path}: {error}") from None


def _suffix(function: str, path: PathLike) -> str:
    suffix = Path(name_of(function, path)).suffix
    if suffix not in (".npz", ".safetensors"):
        raise ValueError(
            f"{function}: the file must end in .npz or .safetensors, got {str(path)!r}"
        )
    return suffix


def _from_npz(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays; whole members are read first, for zip checks their sums at their ends."""
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            for member in file.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise ValueError("it is compressed, and gtnet.save compresses nothing")
                arrays[member.filename.removesuffix(".npy")] = _array(file.read(member))
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except KeyError:
        raise ValueError("it was not written by gtnet.save") from None
    except _BROKEN as error:
        raise ValueError(f"it is not an npz file: {error}") from None
    return header if isinstance(header, dict) else {}, arrays


def _array(data: bytes) -> np.ndarray:
    """The array in an .npy file. Its size is held against the file before memory is asked for."""
    member = io.BytesIO(data)
    version = np.lib.format.read_magic(member)
    if version != (1, 0):
        raise ValueError(f"an array has version {version}, and gtnet.save writes (1, 0)")
    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are never read")
    if len(shape) != 1:
        raise ValueError(f"an array of shape {shape} is none that gtnet.save writes")
    if shape[0] * dtype.itemsize != len(data) - member.tell():
        raise ValueError(f"an array of {dtype} {shape} does not fit its {len(data)} bytes")
    return np.frombuffer(data, dtype, shape[0], member.tell())


def _from_safetensors(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        arrays = from_bytes(data)
    except SafetensorError as error:
        raise ValueError(f"it is not a safetensors file: {error}") from None
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    return header, arrays
