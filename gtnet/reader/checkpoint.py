"""Readers and training states on disk: safetensors and JSON, replaced atomically."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gtnet.reader.reader import CheckReader, ReaderConfig

MODEL = "model.safetensors"
CONFIG = "config.json"

T = TypeVar("T")


def save_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is, at every moment, the old one or the new one."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def save_tensors(path: Path, tensors: dict[str, Tensor], state: Any = None) -> None:
    """Write tensors, and `state` as JSON in the same file, atomically."""
    beside = path.with_name(path.name + ".new")
    metadata = {"state": json.dumps(state)}
    beside.write_bytes(save({name: t.contiguous() for name, t in tensors.items()}, metadata))
    os.replace(beside, path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The tensors and the state of `save_tensors`.

    Raises ValueError for a file that is missing or not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {}).get("state", "null"))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"load_tensors: cannot read {path}: {error}") from error


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration dataclass, with those inside it, as JSON takes it."""
    return dataclasses.asdict(config)


def from_dict(kind: type[T], values: dict[str, Any]) -> T:
    """The configuration dataclass `kind` that `as_dict` wrote.

    Raises ValueError for a name that `kind` does not have.
    """
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"from_dict: {kind.__name__} has no {', '.join(unknown)}")
    given: dict[str, Any] = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(hints[name], value)
        given[name] = tuple(value) if isinstance(value, list) else value
    return kind(**given)


def save_reader(folder: Path | str, reader: CheckReader, name: str = MODEL) -> None:
    """Write a reader's weights into a folder, and its configuration beside them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / name, reader.state_dict(), {"reader": as_dict(reader.config)})


def load_reader(path: Path | str) -> CheckReader:
    """The reader in a safetensors file, or in `model.safetensors` of a training folder.

    Returned in evaluation mode. Raises ValueError when there is none.
    """
    path = Path(path)
    path = path / MODEL if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"load_reader: no trained reader at {path}; make one with `gtnet train`")
    tensors, state = load_tensors(path)
    if not isinstance(state, dict) or "reader" not in state:
        raise ValueError(f"load_reader: {path} was not written by gtnet train")
    reader = CheckReader(from_dict(ReaderConfig, state["reader"]))
    try:
        reader.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"load_reader: {path} does not fit its configuration: {error}") from error
    return reader.eval()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, as named tensors: `optimizer.<parameter>.<name>`."""
    return {
        f"optimizer.{number}.{name}": torch.as_tensor(value)
        for number, remembered in optimizer.state_dict()["state"].items()
        for name, value in remembered.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimizer back what `optimizer_tensors` took from it."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
