"""Readers and training states on disk: safetensors and JSON, replaced atomically."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import gtnet
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.front_end import FRONT_ENDS, FrontEnd
from gtnet.reader.prior import Prior
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.settings import as_dict as as_dict
from gtnet.reader.settings import from_dict as from_dict

MODEL = "model.safetensors"
CONFIG = "config.json"


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that it is, at every moment, the old one or the new one.

    Raises OSError that names it, for a full disk for example, and leaves nothing else behind.
    """
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def save_json(path: Path, value: Any) -> None:
    """Write JSON by `write_file`; numbers that JSON lacks, infinite ones and NaN, become null."""
    text = json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(path, text.encode("utf-8"))


def load_json(path: Path) -> Any:
    """What is in a JSON file. Raises ValueError that names a file that is missing or damaged."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"there is no training in {path.parent}: it has no {path.name}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no whole JSON file: {error}") from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_tensors(path: Path, tensors: dict[str, Tensor], state: Any = None) -> None:
    """Write tensors, and `state` as JSON in the same file, with a checksum, by `write_file`."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    told = json.dumps(_finite(state))
    metadata = {"state": told, "sha256": _checksum(tensors, told)}
    write_file(path, save(tensors, metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The tensors and the state of `save_tensors`.

    Raises ValueError for a file that is missing, not a safetensors file, or damaged: one whose
    checksum, if it has one, is not that of what it holds.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        told = metadata.get("state", "null")
        state = json.loads(told)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"load_tensors: cannot read {path}: {error}") from error
    if metadata.get("sha256") not in (None, _checksum(tensors, told)):
        raise ValueError(
            f"load_tensors: {path} is damaged: its checksum is not that of what it holds; take"
            " another copy, or train again"
        )
    return tensors, state


def _checksum(tensors: dict[str, Tensor], state: str) -> str:
    found = hashlib.sha256(state.encode("utf-8"))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def save_reader(folder: Path | str, reader: Recognizer, name: str = MODEL) -> None:
    """Write a recognizer's weights into a folder, with all that makes it, in one file.

    A `CheckReader` keeps its configuration; any other recognizer its alphabet, language and front
    end. A front end or network of your own is given again to `load_reader`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = reader.state_dict()
    prior = {} if reader.prior is None else {"prior": as_dict(reader.prior)}
    if isinstance(reader, CheckReader):
        save_tensors(folder / name, tensors, {"reader": as_dict(reader.config), **prior})
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
    save_tensors(folder / name, tensors, {"recognizer": state, **prior})


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
    wrong = [n for n, t in tensors.items() if t.is_floating_point() and not _is_sound(n, t)]
    if wrong:
        raise ValueError(
            f"load_reader: the weights in {path} are not all finite numbers ({wrong[0]}): its"
            " training went astray; train again, or take another model"
        )
    if isinstance(state, dict) and "reader" in state:
        reader: Recognizer = CheckReader(from_dict(ReaderConfig, state["reader"], str(path)))
    elif isinstance(state, dict) and "recognizer" in state:
        reader = _recognizer(path, tensors, state["recognizer"], front_end, network)
    else:
        raise ValueError(
            f"load_reader: {path} was not written by gtnet train as a reader; give the folder of a"
            f" finished training, or its {MODEL}"
        )
    if network is None:
        tensors = {_new_name(name): tensor for name, tensor in tensors.items()}
    try:
        reader.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"load_reader: {path} does not fit its configuration: {error}") from error
    if "prior" in state:
        reader.expect(from_dict(Prior, state["prior"], str(path)))
    return reader.eval()


def _new_name(name: str) -> str:
    """What a weight of a recurrent layer is called, that version 0.1 called `name`."""
    name = re.sub(r"^(network(\.over_time)?)\.(forth|back)\.", r"\1.context.layers.0.\3.", name)
    found = re.match(r"(.*)\.deeper\.(\d+)\.([01])\.(.*)", name)
    if not found:
        return name
    way = ("forth", "back")[int(found[3])]
    return f"{found[1]}.context.layers.{int(found[2]) + 1}.{way}.{found[4]}"


def _is_sound(name: str, tensor: Tensor) -> bool:
    """Whether weights are finite; scores of a language may be -inf."""
    if name.startswith("language."):
        return not bool((tensor.isnan() | (tensor == torch.inf)).any())
    return bool(tensor.isfinite().all())


def _recognizer(
    path: Path,
    tensors: dict[str, Tensor],
    state: Any,
    front_end: FrontEnd | None,
    network: nn.Module | None,
) -> Recognizer:
    """The recognizer that a file describes, its weights still to be filled in.

    What older files lack has the value it had then.
    """
    try:
        language = {part: tensors.pop(f"language.{part}") for part in _LANGUAGE}
        if front_end is None:
            if state["front_end"] not in FRONT_ENDS:
                raise ValueError(
                    f"it has the front end {state['front_end']!r}, which is none of"
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
            candidates=state.get("candidates", 5),
            temperature=state.get("temperature", 1.0),
            unsure=state.get("unsure", 0.0),  # one look only
        )
    except KeyError as error:
        raise ValueError(
            f"load_reader: {path} lacks {error} of what makes a recognizer; it may be of another"
            " version of gtnet"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"load_reader: {path} describes no recognizer: {error}") from error


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
