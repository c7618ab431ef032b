"""N-gram models in safetensors files, mapped into memory, never a pickle."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np

from gtnet._files import PathLike, checksum, name_of, replace_file
from gtnet._ngram_trie import Trie
from gtnet.lexicon import SymbolTable

_FORMAT, _VERSION = "gtnet n-gram model", 1
_TRIE = [field.name for field in fields(Trie)]
_DTYPES = {
    "levels": np.int64,
    "words": np.int32,
    "scores": np.float64,
    "backoffs": np.float64,
    "first": np.int32,
    "labels": np.int32,  # of the symbols, and their names in UTF-8, one after another
    "names": np.uint8,
    "name_ends": np.int64,
}


def save_model(path: PathLike, trie: Trie, symbols: SymbolTable, unk: int | None) -> None:
    """As `NGramModel.save` says."""
    _named("NGramModel.save", path)
    from safetensors.numpy import save

    names = [name.encode() for name in symbols.values()]
    arrays = {name: getattr(trie, name) for name in _TRIE}
    arrays |= {
        "labels": np.array(list(symbols), np.int32),
        "names": np.frombuffer(b"".join(names), np.uint8),
        "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
    }
    header = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "crc32": str(checksum(arrays)),
        "epsilon": symbols.epsilon,
        "unk": "" if unk is None else str(unk),
    }
    replace_file(path, save(arrays, header))


def load_model(path: PathLike) -> tuple[Trie, SymbolTable, int | None]:
    """As `NGramModel.load` says."""
    name = _named("NGramModel.load", path)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(name, "pt") as file:
            header = file.metadata() or {}
            if header.get("format") != _FORMAT:
                raise ValueError("it was not written by NGramModel.save")
            if header.get("version") != str(_VERSION):
                raise ValueError(
                    f"it has version {header.get('version')}, this gtnet reads {_VERSION}: "
                    f"update gtnet"
                )
            arrays = {key: file.get_tensor(key).numpy() for key in file.keys()}  # noqa: SIM118
        _check(arrays, header)
        symbols = _symbols(arrays, header)
        trie = Trie(**{key: arrays[key] for key in _TRIE})
        trie.check(arrays["labels"])
        unk = int(header["unk"]) if header["unk"] else None
        if unk is not None and trie.listed([unk]) is None:
            raise ValueError("its unknown word is not among its 1-grams")
        return trie, symbols, unk
    except (ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ValueError(f"NGramModel.load: cannot read {name}: {error}") from None


def _named(function: str, path: PathLike) -> str:
    name = name_of(function, path)
    if Path(name).suffix != ".safetensors":
        raise ValueError(f"{function}: the file must end in .safetensors, got {name!r}")
    return name


def _check(arrays: dict[str, np.ndarray], header: dict[str, str]) -> None:
    """Raises ValueError for other arrays than those that are written."""
    if {name: (array.dtype.type, array.ndim) for name, array in arrays.items()} != {
        name: (dtype, 1) for name, dtype in _DTYPES.items()
    }:
        raise ValueError("its arrays are none of a model")
    if header.get("crc32") != str(checksum(arrays)):
        raise ValueError("its checksum is wrong, the file is damaged")


def _symbols(arrays: dict[str, np.ndarray], header: dict[str, str]) -> SymbolTable:
    text, ends, labels = arrays["names"].tobytes(), arrays["name_ends"], arrays["labels"].tolist()
    begins = np.concatenate([np.zeros(1, np.int64), ends])
    if len(labels) != len(ends) or bool((np.diff(begins) < 1).any()) or begins[-1] != len(text):
        raise ValueError("its names do not fit its labels")
    cuts = begins.tolist()
    names = [text[a:b].decode() for a, b in pairwise(cuts)]
    if len(set(labels)) != len(labels):
        raise ValueError("a label has two names")
    return SymbolTable(dict(zip(labels, names, strict=True)), epsilon=header["epsilon"])
