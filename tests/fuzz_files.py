"""Damaged files for every reader: `python -m tests.fuzz_files --seconds 60 --seed 7`.

Good files of every format are mutated (bytes, numbers, lines, parts of two files, members and
checksums of archives) and read. Allowed are a result that is whole and an error (ValueError,
TypeError, OSError) that names the file; nothing else, and nothing that lasts long. A failure is
printed with the bytes, made as few as they get. `test_fuzz_files.py` runs it for a moment.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import gtnet
import gtnet.compat.gtn as compat
from gtnet import EPSILON, Graph, Lexicon, NGramModel, SymbolTable, forward_score
from gtnet._files import checksum
from gtnet.interop import gtn, k2, openfst

LONG = 5.0  # seconds for a file of a few hundred bytes
NUMBERS = [0, 1, 2, 3, 7, 255, 2**15, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**62, -1, -2, -(2**31)]
WORDS = [
    b"", b" ", b"\t", b"\n", b"\r", b"\r\n", b"\0", b"-1", b"0", b"1e999", b"nan", b"-inf",
    b"Infinity", b"1_0", b"99999999999", b"4294967296", b"\xff", b"\xef\xbb\xbf", b"\\end\\",
    b"\\data\\", b"\\1-grams:", b"ngram 1=3", b"ngram 2=1", b"<eps>", b"<s>", b"</s>", b"k2.Fsa:",
    b"properties_str", "\u0661".encode(), "\u2028".encode(), b"a" * 300, b"(" * 50, b"[" * 2000,
]  # fmt: skip

ARPA = b"""\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99\t<s>\t-0.5
-0.5\t</s>
-0.6\ta\t-0.25
-0.7\tb

\\2-grams:
-0.1\t<s> a
-0.2\ta </s>

\\end\\
"""


@dataclass(frozen=True)
class Format:
    """How a kind of file is read, good ones to begin with, and its suffix."""

    read: Callable[[Path], Any]
    seeds: list[bytes]
    suffix: str = ""


def graphs() -> list[Graph]:
    """Small graphs, one at a time."""
    chain = Graph([0, 1], [1, 2], [0, 1], weights=torch.tensor([0.5, -1.25]), accept={2: 0.5})
    both = Graph(
        [0, 0, 1], [1, 2, 0], [3, EPSILON, 0], [1, 2, EPSILON], start={0: 0.5, 1: 0.0}, accept=2
    )
    return [
        chain,
        both,
        Graph([], [], [], accept=0, num_states=1),
        Graph([], [], [], start=[], accept=[]),
    ]


def formats(folder: Path) -> dict[str, Format]:
    """Every reader of files that gtnet has."""
    place = folder / "seed"

    def written(write: Callable[[Graph, Path], None], name: str = "") -> list[bytes]:
        files = []
        for graph in graphs():
            write(graph, Path(f"{place}{name}"))
            files.append(Path(f"{place}{name}").read_bytes())
        return files

    symbols = [b"<eps> 0\na 1\nb 2\n", b"a\n \nb\n", b"\xef\xbb\xbfa 1\r\nb\t2\r\n", b"  0\n\t 1\n"]
    lexicons = [b"the dh ah\ncat k ae t\n", b"a\tx y\nb z\n", b"the 0.5 dh ah\ncat 1.0 k ae t\n"]
    table = SymbolTable(["0", "1", "a", "b", " "])
    binaries = written(openfst.write_binary) + _const_files(folder)
    both = {
        "symbols": Format(SymbolTable.read, symbols),
        "symbols kept": Format(lambda p: SymbolTable.read(p, labels="kept"), symbols),
        "symbols raw": Format(lambda p: SymbolTable.read(p, labels="raw"), symbols),
        "lexicon": Format(Lexicon.read, lexicons),
        "lexiconp": Format(lambda p: Lexicon.read(p, probabilities=True), lexicons),
        "arpa": Format(NGramModel.read, [ARPA, ARPA.replace(b"\n", b"\r\n")]),
        "arpa skip": Format(
            lambda p: NGramModel.read(p, symbols=SymbolTable("a"), missing="skip"), [ARPA]
        ),
        "openfst": Format(openfst.read, written(openfst.write)),
        "openfst acceptor": Format(
            lambda p: openfst.read(p, acceptor=True), [b"0 1 1 0.5\n1 2 2\n2 0.25\n"]
        ),
        "openfst symbols": Format(
            lambda p: openfst.read(p, isymbols=table, osymbols=table), [b"0\t1\ta\t \t0.5\n1\t2\n"]
        ),
        "openfst binary": Format(openfst.read_binary, binaries),
        "k2": Format(k2.read, written(k2.write)),
        "k2 raw": Format(lambda p: k2.read(p, labels="raw"), written(k2.write)),
        "gtn": Format(gtn.read, written(gtn.write)),
        "gtn binary": Format(gtn.read_binary, written(gtn.write_binary)),
        "compat text": Format(lambda p: compat.loadtxt(str(p)).core, written(gtn.write)),
        "compat binary": Format(lambda p: compat.load(str(p)).core, written(gtn.write_binary)),
        "npz": Format(gtnet.load, written(gtnet.save, ".npz"), ".npz"),
        "n-gram model": Format(NGramModel.load, _models(place), ".safetensors"),
        "safetensors": Format(gtnet.load, written(gtnet.save, ".safetensors"), ".safetensors"),
    }
    for name in ("symbols", "lexicon", "arpa", "openfst", "k2", "gtn", "openfst binary"):
        one = both[name]
        both[f"{name} gz"] = Format(one.read, [gzip.compress(s, mtime=0) for s in one.seeds], ".gz")
    return both


def _models(place: Path) -> list[bytes]:
    place.write_bytes(ARPA)
    saved = place.with_suffix(".safetensors")
    files = []
    for unk in (None, "b"):
        NGramModel.read(place, unk=unk).save(saved)
        files.append(saved.read_bytes())
    return files


def _const_files(folder: Path) -> list[bytes]:
    try:
        import pywrapfst
    except ImportError:
        return []
    files = []
    for graph in graphs()[:2]:
        for kind in ("standard", "log64"):
            fst = pywrapfst.convert(openfst.to_pynini(graph, arc_type=kind), "const")
            fst.write(str(folder / "const"))
            files.append((folder / "const").read_bytes())
    return files


# Mutations


def mutated(draw: Random, data: bytes, other: bytes, suffix: str) -> bytes:
    """The bytes after some accidents; half the time inside what an archive checks."""
    if suffix and draw.random() < 0.6:
        try:
            return _INSIDE[suffix](draw, data)
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile):
            pass
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        data = _changed(draw, data, other)
    return data


def _changed(draw: Random, data: bytes, other: bytes) -> bytes:
    at = draw.randint(0, len(data))
    end = min(len(data), at + draw.choice([0, 1, 1, 2, 4, 8, 20]))
    kind = draw.randrange(8)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + draw.choice(WORDS) + data[end:]
    if kind == 2:
        return data[:at] + draw.randbytes(draw.choice([1, 1, 2, 4])) + data[end:]
    if kind == 3:
        form = draw.choice(["<i", "<q", "<I"])
        number = draw.choice(NUMBERS) % 2 ** (8 * struct.calcsize(form))
        at -= at % 4 * (draw.random() < 0.7)
        packed = number.to_bytes(struct.calcsize(form), "little")
        return data[:at] + packed + data[at + len(packed) :]
    if kind == 4:
        lines = data.splitlines(keepends=True) or [b""]
        k, n = draw.randrange(len(lines)), draw.choice([0, 2, 2, 50])
        return b"".join([*lines[:k], *[lines[k]] * n, *lines[k + 1 :]])
    if kind == 5:
        words = data.split(b" ")
        words[draw.randrange(len(words))] = draw.choice([str(n).encode() for n in NUMBERS] + WORDS)
        return b" ".join(words)
    if kind == 6:
        cut = draw.randint(0, len(other))
        return data[:at] + other[cut:]
    bit = draw.randrange(8 * len(data)) if data else 0
    return bytes(b ^ (1 << bit % 8) * (i == bit // 8) for i, b in enumerate(data))


def _inside_gz(draw: Random, data: bytes) -> bytes:
    plain = gzip.decompress(data)
    return gzip.compress(_changed(draw, plain, plain), mtime=0)


def _inside_npz(draw: Random, data: bytes) -> bytes:
    """A member changed, checksums of the archive right, and often those of gtnet too."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    arrays = {n.removesuffix(".npy"): np.load(io.BytesIO(m)) for n, m in members.items()}
    if draw.random() < 0.5:
        name = draw.choice(sorted(members))
        members[name] = _changed(draw, members[name], b"")
    else:
        arrays = _changed_arrays(draw, arrays, "header")
        header = json.loads(arrays["header"].tobytes())
        rest = {n: a for n, a in arrays.items() if n != "header"}
        header["crc32"] = str(checksum(rest))
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        members = {}
        for name, array in arrays.items():
            out = io.BytesIO()
            np.save(out, array)
            members[f"{name}.npy"] = out.getvalue()
    if draw.random() < 0.2:
        members.pop(draw.choice(sorted(members)))
    out = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if draw.random() < 0.1 else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", method) as file:
        for name, member in members.items():
            file.writestr(name, member)
    return out.getvalue()


def _inside_safetensors(draw: Random, data: bytes) -> bytes:
    from safetensors.numpy import load, save

    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    if draw.random() < 0.5:
        text = _changed(draw, json.dumps(head).encode(), b"")
        return len(text).to_bytes(8, "little") + text + data[8 + size :]
    arrays = _changed_arrays(draw, load(data), "")
    header = {**head["__metadata__"], "crc32": str(checksum(arrays))}
    return save(arrays, header)


def _changed_arrays(
    draw: Random, arrays: dict[str, np.ndarray], spared: str
) -> dict[str, np.ndarray]:
    name = draw.choice(sorted(set(arrays) - {spared}))
    array = np.array(arrays[name])
    kind = draw.randrange(5)
    if kind == 0 and array.size:
        number = (
            draw.choice(NUMBERS) if array.dtype.kind == "i" else draw.choice([np.nan, np.inf, 1e38])
        )
        with np.errstate(over="ignore", invalid="ignore"):
            array[draw.randrange(array.size)] = np.array(number).astype(array.dtype)
    elif kind == 1:
        array = array[: draw.randint(0, len(array))]
    elif kind == 2:
        with np.errstate(invalid="ignore", over="ignore"):
            array = array.astype(draw.choice(["<i8", "<f8", "<f2", "<u4", "?", ">i4", "<c8"]))
    elif kind == 3:
        array = np.concatenate([array, array])
    else:
        array = array.reshape(1, -1)
    return {**arrays, name: array}


_INSIDE = {".gz": _inside_gz, ".npz": _inside_npz, ".safetensors": _inside_safetensors}


# Judging


def whole(found: Any) -> None:
    """What was read can be used. Raises whatever it raises."""
    if isinstance(found, Graph):
        sizes = found.state_offsets.diff().repeat_interleave(found.arc_offsets.diff())
        assert bool(((found.source >= 0) & (found.source < sizes)).all()), "a source outside"
        assert bool(((found.target >= 0) & (found.target < sizes)).all()), "a target outside"
        assert bool((found.ilabels >= -1).all() and (found.olabels >= -1).all()), "a label below -1"
        for scores in (found.weights, found.start, found.accept):
            assert bool((scores < float("inf")).all()), "a score of +inf or NaN"
        assert int(found.arc_offsets[-1]) == found.num_arcs, "half a graph"
        if found.num_states < 2000:
            with contextlib.suppress(ValueError):  # a cycle whose sum diverges
                forward_score(found)
    elif isinstance(found, SymbolTable):
        assert all(found.label(name) == label for label, name in found.items())
    elif isinstance(found, Lexicon):
        assert len(found) == len(found.pronunciations)
        found.graph()
    else:
        found.graph(backoff="exact")


def complaint(one: Format, path: Path, data: bytes) -> str | None:
    """What is wrong with how the bytes were taken, or None."""
    path.write_bytes(data)
    begin = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* the last line does not end in a newline")
            warnings.filterwarnings("error", category=RuntimeWarning)
            warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required")
            found = one.read(path)
    except (ValueError, TypeError, OSError) as error:
        found, told = None, str(error)
        if str(path) not in told:
            return f"the error does not name the file: {type(error).__name__}: {told[:300]}"
    except Exception as error:
        return f"{type(error).__name__}: {error}\n{traceback.format_exc()[-1500:]}"
    if time.monotonic() - begin > LONG:
        return f"it takes {time.monotonic() - begin:.1f} s"
    if found is None:
        return None
    try:
        whole(found)
    except Exception as error:
        return f"what was read is not whole: {type(error).__name__}: {error}"
    return None


def fewest(one: Format, path: Path, data: bytes, seconds: float = 10.0) -> bytes:
    """Bytes that are still complained about, without what is not needed for that."""
    end, size = time.monotonic() + seconds, max(1, len(data) // 2)
    while size:
        at = 0
        while at < len(data) and time.monotonic() < end:
            shorter = data[:at] + data[at + size :]
            if complaint(one, path, shorter) is not None:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def fuzz(
    seconds: float, seed: int, most_files: int | None = None
) -> tuple[Counter, list[tuple[str, bytes, str]]]:
    """How many files of each format were read, and the complaints."""
    draw = Random(seed)
    read: Counter = Counter()
    found: list[tuple[str, bytes, str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        every = formats(Path(temporary))
        names = sorted(every)
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(found) < 10:
            name = names[read.total() % len(names)]
            one = every[name]
            path = Path(temporary, f"file{one.suffix}")
            data = mutated(draw, draw.choice(one.seeds), draw.choice(one.seeds), one.suffix)
            read[name] += 1
            if complaint(one, path, data) is not None and name not in {n for n, *_ in found}:
                least = fewest(one, path, data)
                found.append((name, least, complaint(one, path, least) or "not again"))
                print(f"\nFAILED {name}: {found[-1][2]}\n{least!r}\n", flush=True)
            if most_files is not None and read.total() >= most_files:
                break
    return read, found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_files", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    print(f"fuzz_files: seed {given.seed}, {given.seconds:g} s", flush=True)
    torch.set_num_threads(1)
    read, found = fuzz(given.seconds, given.seed)
    print(f"fuzz_files: {read.total()} files of {len(read)} readers, {len(found)} failures")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
