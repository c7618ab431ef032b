"""Files as accidents leave them: cut short, with wrong bytes, with lines lost or doubled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

_BYTES = st.one_of(
    st.sampled_from([b"", b" ", b"\t", b"\n", b"-", b"9", b".", b"a", b"\\", b"e", b"0", b"\xff"]),
    st.binary(max_size=3),
    st.sampled_from([b"nan", b"-inf", b"1e999", b"99999999999", b"_1", "\u0661".encode()]),
)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes after one to three accidents."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["cut", "change", "insert", "line lost", "line twice"]))
        if kind == "cut":
            data = data[:at]
        elif kind == "change":
            data = data[:at] + draw(_BYTES) + data[at + 1 :]
        elif kind == "insert":
            data = data[:at] + draw(_BYTES) + data[at:]
        else:
            lines = data.splitlines(keepends=True)
            if lines:
                which = draw(st.integers(0, len(lines) - 1))
                copies = [lines[which]] * (2 if kind == "line twice" else 0)
                data = b"".join([*lines[:which], *copies, *lines[which + 1 :]])
    return data


def read_or_refuse(path: Path, data: bytes, read: Callable[[Path], T]) -> T | None:
    """What a reader makes of the bytes, None for a ValueError that names the file."""
    path.write_bytes(data)
    try:
        return read(path)
    except ValueError as error:
        if str(path) not in str(error):
            raise AssertionError(f"the file is not named: {error}") from error
        return None
