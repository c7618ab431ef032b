"""OpenFst's binary forms, without OpenFst: vector FSTs read and written, const FSTs read.

A header and symbol tables where there are. Then a vector FST has for each state its final cost, the
number of its arcs, and the arcs; a const FST has all states, with places in the arcs, and all arcs.
Numbers are little-endian (OpenFst's fst.cc, vector-fst.h, const-fst.h, symbol-table.cc).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

_MAGIC, _SYMBOLS_MAGIC = 2125659606, 2125658996
_VERSION = 2
_CONST_VERSIONS, _ALIGNMENT = (1, 2), 16  # version 1 is aligned whatever its flags
_HAS_ISYMBOLS, _HAS_OSYMBOLS, _IS_ALIGNED = 1, 2, 4
_EXPANDED_MUTABLE = 3  # the properties every vector FST has; what is not set is found out later
_PLACES = {"const": "<u4", "const8": "<u1", "const16": "<u2", "const64": "<u8"}
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

    def array(self, kind: np.dtype, size: int, what: str) -> np.ndarray:
        """So many records. Raises ValueError where they do not fit."""
        if not 0 <= size * kind.itemsize <= len(self.data) - self.at:
            raise ValueError(f"{size} {what} do not fit into the file at byte {self.at}")
        self.at += size * kind.itemsize
        return np.frombuffer(self.data, kind, size, self.at - size * kind.itemsize)

    def align(self) -> None:
        """Move on to a multiple of what OpenFst maps into memory."""
        self.at += -self.at % _ALIGNMENT

    def end(self) -> None:
        """Raises ValueError where something follows."""
        if self.at != len(self.data):
            raise ValueError(f"{len(self.data) - self.at} bytes follow the last arc")

    def string(self) -> bytes:
        (size,) = self.take("<i")
        if not 0 <= size <= len(self.data) - self.at:
            raise ValueError(f"a string of {size} bytes at byte {self.at} does not fit")
        self.at += size
        return self.data[self.at - size : self.at]


def parse(data: bytes) -> Parts:
    """The FST in the bytes of a file. Raises ValueError for other types, and for damage."""
    if len(data) < 4 or struct.unpack_from("<i", data)[0] != _MAGIC:
        raise ValueError("this is not an OpenFst binary file; openfst.read reads the text form")
    place = _Bytes(data)
    place.take("<i")
    fst_type, arc_type = (place.string().decode("latin-1") for _ in range(2))
    version, flags, _, start, num_states, num_arcs = place.take("<iiQqqq")
    versions = _CONST_VERSIONS if fst_type in _PLACES else (_VERSION,)
    if fst_type not in ("vector", *_PLACES) or version not in versions:
        raise ValueError(
            f"FSTs of type {fst_type!r}, version {version}, are not read, those of type vector and "
            f"const are: convert with fstconvert --fst_type=vector"
        )
    if arc_type not in _COSTS:
        raise ValueError(f"arcs must be of type {', '.join(_COSTS)}, got {arc_type!r}")
    if num_states < 0 or not -1 <= start < max(num_states, 0):
        raise ValueError(f"the start state {start} is none of the {num_states} states")
    for flag in (_HAS_ISYMBOLS, _HAS_OSYMBOLS):
        if flags & flag:
            _skip_symbols(place)
    if fst_type == "vector":
        parts = _vector(place, arc_type, start, num_states)
    else:
        aligned = version == 1 or bool(flags & _IS_ALIGNED)
        parts = _const(place, fst_type, arc_type, start, (num_states, num_arcs), aligned)
    place.end()
    if len(parts.ilabels) and min(parts.ilabels.min(), parts.olabels.min()) < 0:
        raise ValueError("a label is below 0")
    if ((parts.target < 0) | (parts.target >= num_states)).any():
        raise ValueError(f"an arc leads to none of the {num_states} states")
    return parts


def _skip_symbols(place: _Bytes) -> None:
    if place.take("<i")[0] != _SYMBOLS_MAGIC:
        raise ValueError(f"no symbol table at byte {place.at - 4}")
    place.string()
    _, size = place.take("<qq")
    for _ in range(size):
        place.string()
        place.take("<q")


def _arc(arc_type: str, *, aligned: bool) -> np.dtype:
    """An arc on disk; in const FSTs as it lies in memory, aligned."""
    names = ["ilabel", "olabel", "cost", "target"]
    return np.dtype(list(zip(names, ["<i4", "<i4", _COSTS[arc_type], "<i4"])), align=aligned)


def _parts(
    arc_type: str, start: int, final: np.ndarray, counts: np.ndarray, arcs: np.ndarray
) -> Parts:
    source = np.repeat(np.arange(len(final), dtype=np.int32), counts)
    columns = (arcs[name].copy() for name in ("target", "ilabel", "olabel", "cost"))
    return Parts(arc_type, start, final, source, *columns)


def _vector(place: _Bytes, arc_type: str, start: int, num_states: int) -> Parts:
    arc = _arc(arc_type, aligned=False)
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
    arcs = np.frombuffer(b"".join(pieces), arc)
    costs = np.array(final, _COSTS[arc_type])
    return _parts(arc_type, start, costs, np.array(counts, np.int64), arcs)


def _const(
    place: _Bytes, fst_type: str, arc_type: str, start: int, sizes: tuple[int, int], aligned: bool
) -> Parts:
    """All states, each with the place of its first arc and their number, then all arcs."""
    fields = [("final", _COSTS[arc_type])]
    fields += [(name, _PLACES[fst_type]) for name in ("first", "arcs", "silent_in", "silent_out")]
    if aligned:
        place.align()
    states = place.array(np.dtype(fields, align=True), sizes[0], "states")
    if aligned:
        place.align()
    arcs = place.array(_arc(arc_type, aligned=True), sizes[1], "arcs")
    counts = states["arcs"].astype(np.int64)
    before = np.concatenate([[0], np.cumsum(counts)])
    if before[-1] != sizes[1] or (counts < 0).any() or (states["first"] != before[:-1]).any():
        raise ValueError(f"the arcs of the states are not the {sizes[1]} arcs of the file in order")
    return _parts(arc_type, start, states["final"].copy(), counts, arcs)


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
