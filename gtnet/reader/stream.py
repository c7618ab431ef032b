"""Training data larger than memory: shards that are read from front to back, anew in every pass.

The library datasets (Hugging Face) opens tar shards and Parquet files, and shuffles within a
buffer. What is here says who reads which of them, so that any number of processes learn the same.
"""

from __future__ import annotations

import glob
import heapq
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from gtnet.reader.amounts import GRAMMARS, canonical
from gtnet.reader.augment import distort
from gtnet.reader.folder import TEXT as _TEXT
from gtnet.reader.inputs import file_of, read_input
from gtnet.reader.phases import Phase
from gtnet.reader.share import Share
from gtnet.reader.tables import Faults

KINDS = {".tar": "webdataset", ".parquet": "parquet"}
BUFFER = 1024
"""Samples of a stream in memory, one of which, drawn at random, comes next."""

WINDOW = 8
"""Micro-batches that are sorted by length together, so that those of like lengths share one."""

TEXTS = 20_000
"""Texts that are kept, to make a prior of."""

TEXT = _TEXT.split("|")
_FAULTS = 1000  # are told at most
_AT_ONCE = 16


class Sample(NamedTuple):
    """One sample of a shard: the bytes of its file, and its text."""

    name: str
    data: bytes
    suffix: str
    text: str

    def read(self) -> Any:
        """What the file holds, as `read_input`; raises ValueError that names the sample."""
        with file_of(self.data, self.suffix) as path:
            try:
                return read_input(path)
            except ValueError as error:
                told = str(error).partition(": ")[2].replace(str(path), "it")
                raise ValueError(f"{self.name}: {told}") from error


@dataclass
class Shards:
    """Tar shards (as webdataset writes them) or Parquet files of images and texts.

    A sample of a tar shard is an image and a text of one name: `17.png`, `17.txt`, or `17.json`
    with a key such as text or amount. A row of a Parquet file has a column with the bytes of an
    image (as Hugging Face writes them) and one of texts. `parts`: an epoch reads one of so many
    parts of the shards, the next epoch the next; `counts` and `texts` are known when `examined`.
    """

    paths: tuple[str, ...]
    grammar: str = "amount"
    parts: int = 1
    counts: dict[str, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    fingerprint: str = ""

    def __len__(self) -> int:
        """Number of samples, once they are counted."""
        return sum(self.counts.values())

    def samples(
        self, paths: Sequence[str] | None = None, seed: int | None = None
    ) -> Iterator[Sample]:
        """The samples of some shards, in order or, with a seed, shuffled within a buffer.

        Raises ValueError that names a shard which is damaged or holds something else.
        """
        paths = list(self.paths if paths is None else paths)
        try:
            from datasets import disable_progress_bars, load_dataset
        except ImportError:
            raise ValueError(
                "shards are read with datasets, which is missing: pip install 'gtnet-wfst[stream]'"
            ) from None
        disable_progress_bars()
        kind = KINDS[Path(paths[0]).suffix]
        where = paths[0] if len(paths) == 1 else f"one of {len(paths)} shards, {paths[0]} first"
        try:
            files = {"train": list(map(glob.escape, paths))}
            data = load_dataset(kind, data_files=files, split="train", streaming=True).decode(False)
            if seed is not None:
                data = data.shuffle(seed=seed, buffer_size=BUFFER)
            image, text = _columns(data.features, where)
            for number, row in enumerate(_rows(data)):
                yield self._sample(row, image, text, number, where)
        except ValueError:
            raise
        except Exception as error:  # of the library, pyarrow or tarfile: of many kinds
            raise ValueError(f"{where} cannot be read: {error}") from error

    def _sample(
        self, row: dict[str, Any], image: str, text: str, number: int, where: str
    ) -> Sample:
        file, told = row[image], row[text]
        data, inner = (file["bytes"], file.get("path")) if isinstance(file, dict) else (file, None)
        name = str(row.get("__key__") or inner or f"sample {number + 1} of {where}")
        if isinstance(told, dict):
            told = next((told[key] for key in TEXT if told.get(key) is not None), None)
        if data is None or told is None:
            raise ValueError(f"{where}: {name} has no {'image' if data is None else 'text'}")
        return Sample(name, data, Path(inner or "").suffix, str(told).strip())

    def text_of(self, sample: Sample) -> str:
        """The text of a sample as the grammar writes it; raises ValueError for what is none."""
        return canonical(sample.text, self.grammar) if self.grammar in GRAMMARS else sample.text

    def examined(
        self, own: Sequence[str], accepts: Callable[[str], object], known: dict[str, Any]
    ) -> dict[str, Any]:
        """What is in some of the shards, as JSON takes it: counts, a few texts, a digest.

        `known`: what was found before, of shards whose size and time are the same. Raises
        ValueError that lists labels outside the language.
        """
        faults, found = Faults(), {}
        for path in own:
            stat = os.stat(path)
            stamp = [stat.st_size, stat.st_mtime_ns]
            if known.get(path, {}).get("stamp") == stamp:
                found[path] = known[path]
                continue
            texts: list[str] = []
            count, digest = 0, sha256()
            for sample in self.samples([path]):
                try:
                    text = self.text_of(sample)
                    accepts(text)
                except ValueError as error:
                    faults.add(len(faults), f"{path}, {sample.name}: {error}")
                    if len(faults) >= _FAULTS:
                        faults.raise_any()
                    continue
                count += 1
                digest.update(f"{sample.name}\0{text}\0{len(sample.data)}\n".encode())
                if len(texts) < max(1, TEXTS // len(self.paths)):
                    texts.append(text)
            found[path] = {
                "stamp": stamp,
                "count": count,
                "texts": texts,
                "digest": digest.hexdigest(),
            }
        faults.raise_any()
        return found

    def counted(self, found: dict[str, Any]) -> None:
        """Keep what all processes `examined`."""
        self.counts = {path: found[path]["count"] for path in self.paths}
        self.texts = [text for path in self.paths for text in found[path]["texts"]]
        told = "\n".join(sorted(found[path]["digest"] for path in self.paths))
        self.fingerprint = sha256(told.encode()).hexdigest()
        empty = [path for path in self.paths if not self.counts[path]]
        if empty:
            raise ValueError(f"{empty[0]} holds no sample; take it away")

    def dealt(self, lanes: int, seed: int) -> list[list[list[str]]]:
        """The shards of each part of each lane, whose samples are about as many: [part][lane].

        Raises ValueError where there are too few.
        """
        cells = [(0, cell) for cell in range(self.parts * lanes)]
        if len(self.paths) < len(cells):
            raise ValueError(
                f"{len(self.paths)} shards cannot be shared by {lanes} lanes (micro-batches times"
                f" workers) in {self.parts} parts, {len(cells)} in all: write more and smaller"
                " shards, or lower --micro-batches, --workers or --parts"
            )
        order = [self.paths[i] for i in np.random.default_rng(seed).permutation(len(self.paths))]
        dealt: list[list[str]] = [[] for _ in cells]
        for path in sorted(order, key=lambda path: -self.counts[path]):
            count, cell = heapq.heappop(cells)
            dealt[cell].append(path)
            heapq.heappush(cells, (count + self.counts[path], cell))
        return [dealt[part * lanes : (part + 1) * lanes] for part in range(self.parts)]


def _is_file(feature: Any) -> bool:
    """Whether a column of a Parquet file holds bytes, alone or in a struct."""
    feature = feature.get("bytes") if isinstance(feature, dict) else feature
    return getattr(feature, "dtype", "") in ("binary", "large_binary")


def _rows(data: Any) -> Iterator[dict[str, Any]]:
    # Asked for batches, the library leaves the shards to whoever asks; asked for rows in a worker
    # process, it would give each worker a part of them.
    for batch in data.iter(batch_size=_AT_ONCE):
        yield from (dict(zip(batch, values)) for values in zip(*batch.values()))


def _columns(features: Any, where: str) -> tuple[str, str]:
    """The columns of images and of texts."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    files = [name for name, kind in kinds.items() if kind in ("Image", "Audio")]
    files = files or [name for name, feature in features.items() if _is_file(feature)]
    texts = [name for name in ("txt", *TEXT, "json") if name in kinds and name not in files]
    if len(files) != 1 or not texts:
        raise ValueError(
            f"{where} has the columns {', '.join(n for n in kinds if n[:2] != '__')}: needed is one"
            f" of images, and one of texts (txt, {', '.join(TEXT)} or json)"
        )
    return files[0], texts[0]


class StreamedPhase(Phase):
    """A phase on shards: `like` another one, which prepares the reader and knows the loss.

    The micro-batches of a process, and in each of them as many lanes as there are workers, have
    shards of their own. So an epoch has every sample of its part once, and what is learnt depends
    on the micro-batches and workers, not on the processes. Workers read and observe ahead, two
    steps each.
    """

    def __init__(
        self,
        like: Phase,
        shards: Shards,
        observe: Callable[[Any], Any],
        *,
        pieces: int,
        workers: int,
        seed: int,
        distortion: float = 0.0,
    ) -> None:
        super().__init__(like.name, like.config, 0)
        self.like, self.shards, self.observe = like, shards, observe
        self.pieces, self.workers, self.seed = pieces, workers, seed
        self.distortion = distortion
        self.micro = -(-self.config.batch_size // pieces)
        self.cells: list[list[list[str]]] = []
        self.turns = 0

    def begin(self) -> None:
        """Deal the shards out, when they are counted."""
        lanes, counts = max(1, self.workers), self.shards.counts
        self.cells = self.shards.dealt(self.pieces * lanes, self.seed)
        most = max(sum(counts[path] for path in cell) for part in self.cells for cell in part)
        self.turns = -(-most // self.micro)
        self.size = len(self.shards) // self.shards.parts

    @property
    def steps(self) -> int:
        """Steps of one epoch; the last ones have fewer samples where shards are of unlike sizes."""
        return self.turns * max(1, self.workers)

    def prepare(self) -> None:
        self.like.prepare()

    def loss(self, items: Sequence[Any]) -> Any:
        return self.like.loss(items)

    def order(self) -> Any:
        """None: the lanes have orders of their own."""
        return None

    def batches(self, epoch: int, order: Any, share: Share) -> Iterator[list[Sequence[Any]]]:
        loader: DataLoader[Any] = DataLoader(
            _Lanes(self, epoch, list(share.own)),
            batch_size=None,
            num_workers=self.workers,
            collate_fn=_as_is,
            generator=torch.Generator(),  # or it would draw from the numbers of the training
        )
        return iter(loader)


class _Lanes(IterableDataset):
    """The steps that one worker prepares: for each micro-batch of the process its items."""

    def __init__(self, phase: StreamedPhase, epoch: int, own: list[int]) -> None:
        self.shards, self.observe, self.distortion = phase.shards, phase.observe, phase.distortion
        self.micro, self.turns, self.own = phase.micro, phase.turns, own
        self.lanes, self.key = max(1, phase.workers), [phase.seed, epoch]
        self.cells = phase.cells[epoch % len(phase.cells)]

    def __iter__(self) -> Iterator[list[Sequence[Any]]]:
        info = get_worker_info()
        worker = 0 if info is None else info.id
        streams = [self._stream(piece * self.lanes + worker) for piece in self.own]
        for _ in range(self.turns):
            yield [next(stream, []) for stream in streams]

    def _stream(self, lane: int) -> Iterator[list[Any]]:
        """The micro-batches of a lane, in each of which lengths are alike."""
        rng = np.random.default_rng([*self.key, lane])
        source = self._items(lane, rng)
        while window := list(islice(source, WINDOW * self.micro)):
            window.sort(key=lambda item: len(item[0]))
            firsts = range(0, len(window), self.micro)
            for first in rng.permutation(firsts):
                yield window[first : first + self.micro]

    def _items(self, lane: int, rng: np.random.Generator) -> Iterator[tuple[Any, str]]:
        for sample in self.shards.samples(self.cells[lane], int(rng.integers(2**31))):
            try:
                given = sample.read()
            except ValueError as error:
                warnings.warn(f"{error}; it is skipped", stacklevel=2)
                given = np.full((16, 16), 255, np.uint8)  # has no path, as nothing is there
            if self.distortion:
                given = distort(given, rng, self.distortion)
            yield self.observe(given), self.shards.text_of(sample)


def _as_is(items: Any) -> Any:
    return items


class Held:
    """A few samples of shards in memory, as a `Dataset`: to validate and to test with."""

    def __init__(self, shards: Shards, most: int) -> None:
        self.grammar = shards.grammar
        self.items = [
            sample._replace(text=shards.text_of(sample))
            for sample in islice(shards.samples(), most)
        ]

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        """What the file of a sample holds, and its text."""
        return self.items[index].read(), self.items[index].text

    def text(self, index: int) -> str:
        """The text alone."""
        return self.items[index].text

    def name(self, index: int) -> str:
        """The name of a sample in its shard."""
        return self.items[index].name
