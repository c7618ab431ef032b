"""The fuzzer of files: a moment of it is clean, it reaches every reader, and it finds faults."""

from __future__ import annotations

import time

import fuzz_files
import pytest

import gtnet
from gtnet.interop import gtn, k2, openfst


def test_damaged_files_are_whole_or_one_error_that_names_them():
    read, found = fuzz_files.fuzz(60, seed=3, most_files=540)
    assert found == [] and read.total() == 540 and min(read.values()) == 20


def test_every_reader_of_files_is_fuzzed(tmp_path):
    seen: set[str] = set()

    def spied(name, function):
        def read(*args, **kwargs):
            seen.add(name)
            return function(*args, **kwargs)

        return read

    with pytest.MonkeyPatch.context() as patch:
        wanted = set()
        for module in (openfst, k2, gtn, gtnet):
            for name in ("read", "read_binary", "load"):
                if hasattr(module, name):
                    full = f"{module.__name__}.{name}"
                    wanted.add(full)
                    patch.setattr(module, name, spied(full, getattr(module, name)))
        every = fuzz_files.formats(tmp_path)
        for kind, one in every.items():
            path = tmp_path / f"file{one.suffix}"
            for data in one.seeds[:1]:
                assert fuzz_files.complaint(one, path, data) is None, kind
    assert seen == wanted
    assert {"symbols", "lexicon", "lexiconp", "arpa", "compat text", "compat binary"} <= set(every)


def unnamed(path):
    raise ValueError("there is something wrong")


def crashing(path):
    if b"x" in path.read_bytes():
        raise KeyError("x")


def slow(path):
    time.sleep(0.02)


def halved(path):
    graph = gtnet.linear([0, 1])
    graph.weights[0] = float("nan")
    return graph


@pytest.mark.parametrize(
    ("read", "complaint"),
    [
        (unnamed, "does not name the file"),
        (crashing, "KeyError: 'x'"),
        (slow, "it takes"),
        (halved, "is not whole: AssertionError: a score of"),
    ],
)
def test_the_fuzzer_finds_faults(tmp_path, monkeypatch, read, complaint):
    monkeypatch.setattr(fuzz_files, "LONG", 0.01 if read is slow else 60.0)
    one = fuzz_files.Format(read, [b"ax\nb"])
    assert complaint in fuzz_files.complaint(one, tmp_path / "file", b"aaaaxbb\n\n")
    least = fuzz_files.fewest(one, tmp_path / "file", b"aaaaxbb\n\n", seconds=2)
    assert least == (b"x" if read is crashing else b"")
