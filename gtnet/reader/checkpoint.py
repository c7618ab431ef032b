"""Readers and training states on disk: safetensors and JSON, replaced atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import gtnet
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.front_end import FRONT_ENDS, FrontEnd
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.settings import as_dict as as_dict
from gtnet.reader.settings import from_dict as from_dict

MODEL = "model.safetensors"
CONFIG = "config.json"


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


def save_reader(folder: Path | str, reader: Recognizer, name: str = MODEL) -> None:
    """Write a recognizer's weights into a folder, with all that makes it, in one file.

    A `CheckReader` keeps its configuration; any other recognizer its alphabet, language and front
    end. A front end or network of your own is given again to `load_reader`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = reader.state_dict()
    if isinstance(reader, CheckReader):
        save_tensors(folder / name, tensors, {"reader": as_dict(reader.config)})
        return
    language = reader.language.detach()
    tensors |= {f"language.{part}": getattr(language, part).clone() for part in _LANGUAGE}
    state = {
        "alphabet": list(reader.alphabet),
        "front_end": reader.front_end.name,
        "settings": reader.front_end.settings(),
        "candidates": reader.candidates,
        "temperature": reader.temperature,
        "unsure": reader.unsure,
    }
    save_tensors(folder / name, tensors, {"recognizer": state})


_LANGUAGE = ("source", "target", "ilabels", "olabels", "weights", "start", "accept")


def load_reader(
    path: Path | str, *, front_end: FrontEnd | None = None, network: nn.Module | None = None
) -> Recognizer:
    """The recognizer in a safetensors file, or in `model.safetensors` of a training folder.

    `front_end`, `network`: those of a recognizer that was made with its own. Returned in evaluation
    mode, a `CheckReader` if it was one. Raises ValueError when there is none, or where the file
    is of a front end that does not come with the reader and none is given.
    """
    path = Path(path)
    path = path / MODEL if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"load_reader: no trained reader at {path}; make one with `gtnet train`")
    tensors, state = load_tensors(path)
    if isinstance(state, dict) and "reader" in state:
        reader: Recognizer = CheckReader(from_dict(ReaderConfig, state["reader"]))
    elif isinstance(state, dict) and "recognizer" in state:
        reader = _recognizer(path, tensors, state["recognizer"], front_end, network)
    else:
        raise ValueError(f"load_reader: {path} was not written by gtnet train")
    try:
        reader.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"load_reader: {path} does not fit its configuration: {error}") from error
    return reader.eval()


def _recognizer(
    path: Path,
    tensors: dict[str, Tensor],
    state: dict[str, Any],
    front_end: FrontEnd | None,
    network: nn.Module | None,
) -> Recognizer:
    """The recognizer that a file describes, its weights still to be filled in."""
    language = {part: tensors.pop(f"language.{part}") for part in _LANGUAGE}
    if front_end is None:
        if state["front_end"] not in FRONT_ENDS:
            raise ValueError(
                f"load_reader: {path} has the front end {state['front_end']!r}, which is none of"
                f" {', '.join(FRONT_ENDS)}; give it with front_end="
            )
        front_end = FRONT_ENDS[state["front_end"]](state["settings"])
    start, accept = language.pop("start"), language.pop("accept")
    graph = gtnet.Graph(**language, start=start, accept=accept, num_states=len(start))
    return Recognizer(
        Alphabet(state["alphabet"]),
        graph,
        front_end,
        network,
        candidates=state["candidates"],
        temperature=state["temperature"],
        unsure=state["unsure"],
    )


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
