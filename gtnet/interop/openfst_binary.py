"""OpenFst's binary form of vector FSTs, read and written without OpenFst.

A header, symbol tables where there are, then for each state its final cost, the number of its
arcs, and the arcs; integers little-endian (OpenFst's fst.cc, vector-fst.h, symbol-table.cc).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

_MAGIC, _SYMBOLS_MAGIC = 2125659606, 2125658996
_VERSION = 2
_HAS_ISYMBOLS, _HAS_OSYMBOLS = 1, 2
_EXPANDED_MUTABLE = 3  # the properties of every vector FST; OpenFst computes the others later
_COSTS = {"standard": "<f4", "log": "<f4", "log64": "<f8"}


class Parts(NamedTuple):
    """One FST as OpenFst has it: costs, and labels of which 0 is an epsilon."""

    arc_type: str
    start: int  # -1: none
    final: np.ndarray  # [states], inf where the state is not final
    source: np.ndarray
    target: np.ndarray
    ilabels: np.ndarray
    olabels: np.ndarray
    costs: np.ndarray


class _Bytes:
    """A position in the bytes that advances as they are read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, format: str) -> tuple:
        size = struct.calcsize(format)
        if self.at + size > len(self.data):
            raise ValueError(f"the file ends at byte {len(self.data)}, within its contents")
        self.at += size
        return struct.unpack_from(format, self.data, self.at - size)

    def string(self) -> bytes:
        (size,) = self.take("<i")
        if not 0 <= size <= len(self.data) - self.at:
            raise ValueError(f"a string of {size} bytes at byte {self.at} does not fit")
        self.at += size
        return self.data[self.at - size : self.at]


def parse(data: bytes) -> Parts:
    """The FST in the bytes of a file. Raises ValueError unless it is an intact vector FST."""
    if len(data) < 4 or struct.unpack_from("<i", data)[0] != _MAGIC:
        raise ValueError("this is not an OpenFst binary file; openfst.read reads the text form")
    place = _Bytes(data)
    place.take("<i")
    fst_type, arc_type = place.string(), place.string().decode("latin-1")
    version, flags, _, start, num_states, _ = place.take("<iiQqqq")
    if fst_type != b"vector" or version != _VERSION:
        raise ValueError(
            f"FSTs of type {fst_type.decode('latin-1')!r}, version {version}, are not read: "
            f"convert with fstconvert --fst_type=vector"
        )
    if arc_type not in _COSTS:
        raise ValueError(f"arcs must be of type {', '.join(_COSTS)}, got {arc_type!r}")
    if num_states < 0 or not -1 <= start < max(num_states, 0):
        raise ValueError(f"the start state {start} is none of the {num_states} states")
    for flag in (_HAS_ISYMBOLS, _HAS_OSYMBOLS):
        if flags & flag:
            _skip_symbols(place)
    return _states(place, arc_type, start, num_states)


def _skip_symbols(place: _Bytes) -> None:
    if place.take("<i")[0] != _SYMBOLS_MAGIC:
        raise ValueError(f"no symbol table at byte {place.at - 4}")
    place.string()
    _, size = place.take("<qq")
    for _ in range(size):
        place.string()
        place.take("<q")


def _states(place: _Bytes, arc_type: str, start: int, num_states: int) -> Parts:
    arc = np.dtype(
        [("ilabel", "<i4"), ("olabel", "<i4"), ("cost", _COSTS[arc_type]), ("target", "<i4")]
    )
    head = "<" + ("d" if arc_type == "log64" else "f") + "q"
    final, counts, pieces = [], [], []
    for state in range(num_states):
        cost, num_arcs = place.take(head)
        size = num_arcs * arc.itemsize
        if not 0 <= size <= len(place.data) - place.at:
            raise ValueError(f"the {num_arcs} arcs of state {state} do not fit into the file")
        final.append(cost)
        counts.append(num_arcs)
        pieces.append(place.data[place.at : place.at + size])
        place.at += size
    if place.at != len(place.data):
        raise ValueError(f"{len(place.data) - place.at} bytes follow the last state")
    arcs = np.frombuffer(b"".join(pieces), arc)
    if len(arcs) and min(arcs["ilabel"].min(), arcs["olabel"].min()) < 0:
        raise ValueError("a label is below 0")
    return Parts(
        arc_type,
        start,
        np.array(final, _COSTS[arc_type]),
        np.repeat(np.arange(num_states, dtype=np.int32), counts),
        arcs["target"].copy(),
        arcs["ilabel"].copy(),
        arcs["olabel"].copy(),
        arcs["cost"].copy(),
    )


def render(function: str, parts: Parts) -> bytes:
    """The bytes of a file. Raises ValueError for an unsupported arc type."""
    if parts.arc_type not in _COSTS:
        raise ValueError(
            f"{function}: arc_type must be one of {', '.join(_COSTS)}, got {parts.arc_type!r}"
        )
    name, cost = parts.arc_type.encode(), _COSTS[parts.arc_type]
    order = np.argsort(parts.source, kind="stable")
    fields = [("i", "<i4"), ("o", "<i4"), ("cost", cost), ("target", "<i4")]
    arcs = np.empty(len(order), fields)
    columns = (parts.ilabels, parts.olabels, parts.costs, parts.target)
    for (field, _), column in zip(fields, columns):
        arcs[field] = column[order]
    num_states = len(parts.final)
    counts = np.bincount(parts.source[order].astype(np.int64), minlength=num_states)
    heads = np.empty(num_states, [("final", cost), ("arcs", "<i8")])
    heads["final"], heads["arcs"] = parts.final, counts
    ends = np.concatenate([[0], np.cumsum(counts)]) * arcs.itemsize
    head_bytes, arc_bytes, size = heads.tobytes(), arcs.tobytes(), heads.itemsize
    header = struct.pack("<ii6si", _MAGIC, 6, b"vector", len(name)) + name
    header += struct.pack(
        "<iiQqqq", _VERSION, 0, _EXPANDED_MUTABLE, parts.start, num_states, len(arcs)
    )
    states = [
        head_bytes[s * size : (s + 1) * size] + arc_bytes[ends[s] : ends[s + 1]]
        for s in range(num_states)
    ]
    return header + b"".join(states)
