"""What recognizers read, as files have it: images, pen strokes, sound; and pictures of each."""

from __future__ import annotations

import hashlib
import tempfile
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gtnet.reader.images import read_image, read_images
from gtnet.reader.sound import Recording, SoundConfig, spectrum_of
from gtnet.reader.strokes import drawn, read_strokes

SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".mp3", ".aiff", ".aif", ".au")
"""Ends of names that are read as sound; of `STROKES`, as strokes; all others are images."""

STROKES = (".npz",)


def kind_of(path: str | Path) -> str:
    """ "image", "strokes" or "sound": what a file holds, by the end of its name."""
    suffix = Path(str(path).partition("#")[0]).suffix.lower()
    return "sound" if suffix in SOUNDS else "strokes" if suffix in STROKES else "image"


def wrong_kind(path: str | Path, front_end: str) -> str:
    """Why a front end of this name cannot read a file; empty if it can, or is one of your own."""
    kind = kind_of(path)
    wanted = "image" if front_end in ("segments", "segmental", "sliding") else front_end
    if wanted not in _ARE or kind == wanted:
        return ""
    return f"a file of {_ARE[kind]}; the front end {front_end} reads {_ARE[wanted]}"


_ARE = {"image": "images", "strokes": "pen strokes (.npz)", "sound": "sound (.wav)"}


def read_input(path: str | Path) -> Any:
    """What a file holds: an image, a `Recording`, or the strokes of its only sample.

    Sample number 3 of a file of strokes is named as `words.npz#3`, counted from 1. Raises
    ValueError that names the file, for one that cannot be read or a sample it does not have.
    """
    kind = kind_of(path)
    if kind == "image":
        return read_image(path)
    if kind == "sound":
        return read_recording(path)
    found = list(_samples(str(path)))
    if len(found) != 1:
        raise ValueError(
            f"read_input: {path} holds {len(found)} samples; name one, such as {path}#1"
        )
    return found[0][1]


@contextmanager
def file_of(data: bytes, suffix: str = "") -> Iterator[Path]:
    """A file that holds these bytes, until the end of the block: what reads takes files."""
    with tempfile.TemporaryDirectory(prefix="gtnet-input-") as folder:
        path = Path(folder, "input" + suffix)
        path.write_bytes(data)
        yield path


def read_inputs(path: str | Path) -> Iterator[tuple[str, Any]]:
    """All that a file holds, each with its name: pages of images, samples of strokes, a sound.

    Raises ValueError as `read_input` does.
    """
    kind = kind_of(path)
    if kind == "image":
        yield from read_images(path)
    elif kind == "sound":
        yield str(path), read_recording(path)
    else:
        yield from _samples(str(path))


def _samples(path: str) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The strokes of every sample of a file, or of the one that is named, as `words.npz#3`."""
    name, _, number = path.partition("#")
    items = read_strokes(name)
    numbers = range(1, len(items) + 1)
    if number:
        if not (number.isascii() and number.isdigit() and int(number) in numbers):
            raise ValueError(f"read_input: {name} has samples 1 to {len(items)}, not {number!r}")
        numbers = range(int(number), int(number) + 1)
    for one in numbers:
        alone = len(items) == 1 and not number
        yield path if number or alone else f"{name}#{one}", items[one - 1].strokes


def digest(given: Any) -> str:
    """A number for what an input holds, the same for the same."""
    parts = given if isinstance(given, Sequence) else [getattr(given, "samples", given)]
    found = hashlib.sha256(str(getattr(given, "rate", "")).encode())
    for part in parts:
        array = np.ascontiguousarray(part)
        found.update(f"{array.shape}{array.dtype}".encode() + array.tobytes())
    return found.hexdigest()


def is_empty(given: Any) -> bool:
    """Whether nothing is written or said: paper of one grey, no point, no sound."""
    if isinstance(given, Sequence):
        return not any(len(stroke) for stroke in given)
    if isinstance(given, Recording):
        return not len(given.samples) or float(np.ptp(given.samples)) == 0
    return bool(np.ptp(given) < _CONTRAST)


_CONTRAST = 14  # what differs less from its paper is no ink


def read_recording(path: str | Path) -> Recording:
    """A sound file as a recording of one channel, the mean of those it has.

    WAV files of whole numbers are read by the standard library, all others need the package
    soundfile. Raises ValueError for a file that cannot be read.
    """
    try:
        with wave.open(str(path)) as file:
            width, channels = file.getsampwidth(), file.getnchannels()
            rate, raw = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        return _by_soundfile(path, error)
    except OSError as error:
        raise ValueError(f"read_recording: cannot read {path}: {error}") from error
    whole = raw[: len(raw) // (width * channels) * (width * channels)]  # a last sample cut short
    samples = _whole_numbers(whole, width).reshape(-1, channels)
    return Recording(samples.mean(axis=1, dtype=np.float32), rate)


def _whole_numbers(raw: bytes, width: int) -> np.ndarray:
    """The samples of a WAV file: unsigned of one byte, signed of two, three or four."""
    if width == 1:
        return np.frombuffer(raw, np.uint8).astype(np.int16) - 128
    if width != 3:
        return np.frombuffer(raw, f"<i{width}")
    four = np.zeros((len(raw) // 3, 4), np.uint8)
    four[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
    return four.reshape(-1).view("<i4") >> 8


def _by_soundfile(path: str | Path, error: Exception) -> Recording:
    try:
        import soundfile
    except ImportError:
        raise ValueError(
            f"read_recording: {path} is no WAV file of whole numbers ({error}); for others"
            " pip install soundfile"
        ) from error
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as unread:
        raise ValueError(f"read_recording: cannot read {path}: {unread}") from unread
    return Recording(samples.mean(axis=1), int(rate))


class StrokesDataset:
    """A `Dataset` of the samples in a `.npz` file of strokes, see `read_strokes`.

    `writers` names the writer of each: parts of the data should share none.
    """

    def __init__(self, path: str | Path, *, grammar: str = "") -> None:
        self.root, self.grammar = Path(path), grammar
        self.items = read_strokes(path)
        self.writers = [item.writer for item in self.items]

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[list[np.ndarray], str]:
        """The strokes of a sample, and what they say."""
        return self.items[index].strokes, self.items[index].label

    def text(self, index: int) -> str:
        """What a sample says, alone."""
        return self.items[index].label

    def name(self, index: int) -> str:
        """The name of a sample, as `read_input` takes it."""
        return f"{self.root.name}#{index + 1}"

    def place(self, index: int) -> str:
        """Where a sample is: its file and number."""
        return f"{self.root}, sample {index + 1}"


def picture(given: Any) -> np.ndarray:
    """A picture of what a recognizer reads, grey uint8 [height, width]: of an image, itself.

    Strokes as ink; a recording as its spectrum, low below, loud dark.
    """
    if isinstance(given, Recording):
        return spectrum_picture(spectrum_of(given, _seen_by_eye(given.rate)).energies)
    if isinstance(given, Sequence):
        return 255 - drawn(given, height=48) if given else np.full((48, 48), 255, np.uint8)
    return np.asarray(given)


def _seen_by_eye(rate: int) -> SoundConfig:
    return SoundConfig(mels=48, highest=min(SoundConfig.highest, rate / 2))


def spectrum_picture(energies: np.ndarray) -> np.ndarray:
    """Energies [steps, bands] as grey uint8 [bands, steps], low below, loud dark."""
    if not len(energies):
        return np.full((max(1, energies.shape[1]), 8), 255, np.uint8)
    low, high = np.percentile(energies, [5, 99])
    shares = np.clip((energies - low) / max(high - low, 1e-6), 0, 1)
    return np.rint(255 * (1 - shares.T[::-1])).astype(np.uint8)
