"""Training a check reader in two phases: isolated characters, then whole amounts.

The first phase teaches the network single characters with cross-entropy. The second trains the
whole graph transformer network with amounts as the only labels, by default through the difference
of two forward scores (LeCun, Bottou, Bengio & Haffner 1998, sections VI and X).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from tqdm import tqdm

import gtnet
from gtnet.reader import checkpoint
from gtnet.reader.augment import distort, jitter
from gtnet.reader.data import Characters, Dataset
from gtnet.reader.film import Film
from gtnet.reader.reader import Answer, CheckReader, ReaderConfig
from gtnet.reader.segment import Segmentation, SegmentConfig, normalize_character, segment

CHECKPOINT = "checkpoint.safetensors"
ISOLATED = "isolated.safetensors"
HISTORY = "history.json"
PHASES = {"isolated": "isolated characters", "whole": "global training"}
"""What the two phases are called in pictures and tables."""


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of training.

    `epochs`: passes over its data; `rate`: highest learning rate; `batch_size`: characters or
    images a step; `jitter`: strength of the random affine change of every segment image, 0 for
    none, 1 for about 10 degrees; `distort`: strength of the random change of whole images
    before they are cut (second phase only), 0 for none.
    """

    epochs: int
    rate: float
    batch_size: int
    jitter: float = 0.0
    distort: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """How a reader is trained; the same configuration and data give the same reader.

    `characters`: isolated characters to synthesise, where the data set can; `weight_decay` and
    `clip` (greatest gradient norm) for AdamW; `average`: decay per step of the moving average of
    the weights that is kept as the model, 0 for none; `workers`: processes that cut images;
    `loss`: of the second phase, a name in `gtnet.losses.LOSSES`.
    """

    seed: int = 0
    isolated: PhaseConfig = PhaseConfig(epochs=6, rate=4e-3, batch_size=128, jitter=0.5)
    whole: PhaseConfig = PhaseConfig(epochs=6, rate=2e-3, batch_size=32, jitter=0.3)
    characters: int = 6000
    weight_decay: float = 0.02
    clip: float = 5.0
    average: float = 0.98
    workers: int = 0
    loss: str = "discriminative_forward"
    reader: ReaderConfig = field(default_factory=ReaderConfig)


@dataclass(frozen=True)
class Examples:
    """Isolated characters as the network sees them.

    `images` float32 [characters, 2, size, size], both the character alone; `geometry` float32
    [characters, features], `classes` int64 [characters].
    """

    images: Tensor
    geometry: Tensor
    classes: Tensor

    def __len__(self) -> int:
        """Number of characters."""
        return len(self.classes)


def examples(characters: Sequence[Characters], config: SegmentConfig) -> Examples:
    """Several sets of isolated characters, each scaled and measured as a segment is."""
    pairs = [
        normalize_character(image, line, config)
        for part in characters
        for image, line in zip(part.images, part.lines, strict=True)
    ]
    return Examples(
        torch.from_numpy(np.stack([(image, image) for image, _ in pairs])),
        torch.from_numpy(np.stack([geometry for _, geometry in pairs])),
        torch.from_numpy(np.concatenate([part.classes for part in characters])),
    )


class Segmented:
    """A data set whose images are cut: item (epoch, i) is a segmentation and the true amount.

    Without distortion every image is cut once and remembered; with it, image i is distorted
    anew each epoch, by (seed, epoch, i) alone, so that worker processes change nothing.
    """

    def __init__(
        self, data: Dataset, config: SegmentConfig, *, distortion: float = 0.0, seed: int = 0
    ) -> None:
        self.data, self.config, self.distortion, self.seed = data, config, distortion, seed
        self._cache: dict[int, tuple[Segmentation, str]] = {}

    def __len__(self) -> int:
        """Number of images."""
        return len(self.data)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Segmentation, str]:
        epoch, index = key
        if index in self._cache:
            return self._cache[index]
        image, amount = self.data[index]
        if self.distortion:
            rng = np.random.default_rng([self.seed, epoch, index])
            return segment(distort(image, rng, self.distortion), self.config), amount
        self._cache[index] = segment(image, self.config), amount
        return self._cache[index]

    def batches(
        self, order: Sequence[int], batch_size: int, *, epoch: int = 0, workers: int = 0
    ) -> Iterator[list[tuple[Segmentation, str]]]:
        """The items of `order` in batches, cut in `workers` processes unless remembered."""
        keys = [(epoch, int(index)) for index in order]
        groups = [keys[first : first + batch_size] for first in range(0, len(keys), batch_size)]
        remembered = all(index in self._cache for index in order)
        loader: DataLoader[Any] = DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=groups,
            collate_fn=list,
            num_workers=0 if remembered else workers,
        )
        for batch, group in zip(loader, groups, strict=True):
            if not self.distortion:
                self._cache.update({key[1]: item for key, item in zip(group, batch, strict=True)})
            yield batch


@dataclass
class TrainingData:
    """What a reader is trained on.

    `valid`: amounts that are read after every epoch, to see how training goes; `characters`:
    isolated characters, none leaves the first phase out.
    """

    train: Dataset
    valid: Dataset | None = None
    characters: Sequence[Characters] = ()


class Phase:
    """One phase of training: its settings, the size of an epoch, and the loss of its batches."""

    def __init__(self, name: str, config: PhaseConfig, size: int) -> None:
        self.name, self.config, self.size = name, config, size

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return math.ceil(self.size / self.config.batch_size)

    def prepare(self) -> None:
        """Put the reader in the state in which this phase trains it."""
        raise NotImplementedError

    def losses(self, epoch: int, order: Tensor) -> Iterator[tuple[Tensor, int]]:
        """For each batch of the order: its loss and how many of its items were skipped."""
        raise NotImplementedError


class IsolatedPhase(Phase):
    """Cross-entropy on isolated characters."""

    def __init__(self, reader: CheckReader, config: PhaseConfig, data: Examples) -> None:
        super().__init__("isolated", config, len(data))
        self.reader, self.data = reader, data

    def prepare(self) -> None:
        """Isolated characters have nothing around them."""
        self.reader.train()
        self.reader.config = replace(self.reader.config, context=False)

    def losses(self, epoch: int, order: Tensor) -> Iterator[tuple[Tensor, int]]:
        for chosen in order.split(self.config.batch_size):
            images = self.data.images[chosen]
            if self.config.jitter:
                images = jitter(images, self.config.jitter)
            logits = self.reader.network(images, self.data.geometry[chosen])
            yield functional.cross_entropy(logits, self.data.classes[chosen]), 0


class WholePhase(Phase):
    """A loss of interpretation graphs on whole amounts; segments carry no labels."""

    def __init__(
        self,
        reader: CheckReader,
        config: PhaseConfig,
        data: Segmented,
        *,
        workers: int,
        pretrained: bool,
        loss: str,
    ) -> None:
        super().__init__("whole", config, len(data))
        self.criterion = gtnet.losses.by_name(loss)
        self.reader, self.data = reader, data
        self.workers, self.pretrained = workers, pretrained

    def prepare(self) -> None:
        """Batch normalization keeps the statistics of the first phase, if there was one.

        The segments of a few images are too much alike for statistics of their own.
        """
        self.reader.train()
        self.reader.config = replace(self.reader.config, context=True)
        for module in self.reader.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(not self.pretrained)

    def losses(self, epoch: int, order: Tensor) -> Iterator[tuple[Tensor, int]]:
        batches = self.data.batches(
            order.tolist(), self.config.batch_size, epoch=epoch, workers=self.workers
        )
        for batch in batches:
            segmentations, truth = zip(*batch, strict=True)
            change = partial(jitter, strength=self.config.jitter) if self.config.jitter else None
            loss = self.reader.loss(segmentations, truth, change, criterion=self.criterion)
            reachable = torch.isfinite(loss)
            skipped = len(batch) - int(reachable.sum())
            yield loss[reachable].sum() / max(1, len(batch) - skipped), skipped


class Trainer:
    """Trains a reader and keeps everything needed to continue after an interruption in one folder.

    Each epoch draws its randomness from (seed, phase, epoch), so a run that is stopped and
    resumed from the checkpoint of its last finished epoch gives what an unbroken run gives.
    Files: config.json, history.json, checkpoint.safetensors (after every epoch),
    isolated.safetensors (the reader after the first phase), model.safetensors (after the last),
    film.safetensors (how one image was read after every epoch).
    """

    def __init__(
        self, config: TrainConfig, data: TrainingData, out: Path | str, *, quiet: bool = False
    ) -> None:
        self.config, self.data, self.out, self.quiet = config, data, Path(out), quiet
        torch.manual_seed(config.seed)
        self.reader = CheckReader(config.reader)
        self.average = _copied(self.reader)
        self.history: list[dict[str, Any]] = []
        self.valid: Segmented | None = None
        if data.valid is not None:
            self.valid = Segmented(data.valid, config.reader.segment)
        self.phases = self._phases()
        watched = data.train if data.valid is None else data.valid
        self.film = Film.of(watched, config.reader.segment) if len(watched) else None

    def _phases(self) -> list[Phase]:
        config, cut = self.config, self.config.reader.segment
        phases: list[Phase] = []
        if self.data.characters and config.isolated.epochs:
            found = examples(self.data.characters, cut)
            phases.append(IsolatedPhase(self.reader, config.isolated, found))
        if config.whole.epochs:
            images = Segmented(
                self.data.train, cut, distortion=config.whole.distort, seed=config.seed
            )
            phases.append(
                WholePhase(
                    self.reader,
                    config.whole,
                    images,
                    workers=config.workers,
                    pretrained=bool(phases),
                    loss=config.loss,
                )
            )
        return phases

    def run(self, *, resume: bool = False, epochs: int | None = None) -> CheckReader:
        """Train through all phases, or continue from the checkpoint in the folder.

        `epochs`: stop after so many epochs of this call, as if interrupted. Returns the reader
        with the (averaged) weights of the last epoch, in evaluation mode. Raises ValueError when
        there is no checkpoint to resume from or it belongs to another configuration.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        first_phase, first_epoch, remembered = self._load() if resume else (0, 0, {})
        checkpoint.save_json(self.out / checkpoint.CONFIG, checkpoint.as_dict(self.config))
        self._shoot("before training")
        for number, phase in enumerate(self.phases[first_phase:], start=first_phase):
            optimizer = torch.optim.AdamW(
                self.reader.network.parameters(), weight_decay=self.config.weight_decay
            )
            checkpoint.restore_optimizer(optimizer, remembered)
            phase.prepare()
            for epoch in range(first_epoch, phase.config.epochs):
                if epochs == 0:
                    return self._averaged()
                epochs = epochs and epochs - 1
                self._epoch(number, phase, epoch, optimizer)
            first_epoch, remembered = 0, {}
            self._finish(phase)
        return self._averaged()

    def _epoch(
        self, number: int, phase: Phase, epoch: int, optimizer: torch.optim.Optimizer
    ) -> None:
        """One pass over the data of a phase, its line of the history, and a checkpoint."""
        began = time.perf_counter()
        torch.manual_seed(1_000_003 * self.config.seed + 1_009 * number + epoch + 1)
        phase.prepare()
        order = torch.randperm(phase.size)
        total, skipped = 0.0, 0
        title = f"{phase.name} {epoch + 1}/{phase.config.epochs}"
        losses = phase.losses(epoch, order)
        with tqdm(total=phase.steps, desc=title, disable=self.quiet, leave=False) as bar:
            for step, (loss, left_out) in enumerate(losses, start=epoch * phase.steps):
                self._step(phase, step, loss, optimizer)
                total, skipped = total + loss.item(), skipped + left_out
                bar.set_postfix(loss=f"{total / (bar.n + 1):.3f}", refresh=False)
                bar.update()
        self.history.append(
            {
                "phase": phase.name,
                "epoch": epoch + 1,
                "loss": total / phase.steps,
                "skipped": skipped,
                "valid_accuracy": self._valid_accuracy(),
                "seconds": round(time.perf_counter() - began, 1),
            }
        )
        self._tell(self.history[-1])
        self._shoot(f"{PHASES[phase.name]}, epoch {epoch + 1}")
        self._save(number, epoch + 1, optimizer)

    def _step(
        self, phase: Phase, step: int, loss: Tensor, optimizer: torch.optim.Optimizer
    ) -> None:
        rate = phase.config.rate * _one_cycle(step / (phase.steps * phase.config.epochs))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.reader.network.parameters(), self.config.clip)
        optimizer.step()
        kept = min(self.config.average, (step + 1) / (step + 10))
        for name, value in self.reader.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - kept)
            else:
                self.average[name].copy_(value)

    def _averaged(self) -> CheckReader:
        reader = CheckReader(self.reader.config)
        reader.load_state_dict(self.average)
        return reader.eval()

    def _shoot(self, caption: str) -> None:
        """One more frame of the film, unless a resumed run has it already."""
        if self.film is not None and caption not in self.film.frames:
            self.film.shoot(self._averaged(), caption)

    def _valid_accuracy(self) -> float | None:
        if self.valid is None:
            return None
        return evaluate(self._averaged(), self.valid).accuracy

    def _finish(self, phase: Phase) -> None:
        """After a phase: keep its reader, and let the next one start from it."""
        self.reader.load_state_dict(self.average)
        name = ISOLATED if phase.name == "isolated" else checkpoint.MODEL
        checkpoint.save_reader(self.out, self._averaged(), name)

    def _save(self, phase: int, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        tensors = checkpoint.optimizer_tensors(optimizer)
        tensors |= {f"reader.{name}": t for name, t in self.reader.state_dict().items()}
        tensors |= {f"average.{name}": t for name, t in self.average.items()}
        state = {
            "phase": phase,
            "epoch": epoch,
            "history": self.history,
            "config": checkpoint.as_dict(self.config),
        }
        checkpoint.save_tensors(self.out / CHECKPOINT, tensors, state)
        checkpoint.save_json(self.out / HISTORY, self.history)
        if self.film is not None:
            self.film.save(self.out)

    def _load(self) -> tuple[int, int, dict[str, Tensor]]:
        path = self.out / CHECKPOINT
        if not path.is_file():
            raise ValueError(f"resume: no checkpoint {path}; train without --resume first")
        tensors, state = checkpoint.load_tensors(path)
        if checkpoint.from_dict(TrainConfig, state["config"]) != self.config:
            raise ValueError(
                f"resume: {path} was made with other settings; see {checkpoint.CONFIG} beside it,"
                " or choose another folder with --out"
            )
        self.reader.load_state_dict(_under("reader.", tensors))
        self.average = _under("average.", tensors)
        self.history = state["history"]
        self.film = Film.load(self.out, self.config.reader.segment) or self.film
        return state["phase"], state["epoch"], tensors

    def _tell(self, row: dict[str, Any]) -> None:
        if not self.quiet:
            parts = [f"{row['phase']:>8} epoch {row['epoch']:2}: loss {row['loss']:.3f}"]
            if row["valid_accuracy"] is not None:
                parts.append(f"{row['valid_accuracy']:.1%} of validation amounts read")
            if row["skipped"]:
                parts.append(f"{row['skipped']} skipped: the truth has no path")
            tqdm.write(", ".join([*parts, f"{row['seconds']:.0f} s"]))


def _copied(reader: CheckReader) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in reader.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def _one_cycle(done: float) -> float:
    """The learning rate, relative to the highest, when a share `done` of a phase is done."""
    warm = 0.15
    if done < warm:
        return 0.1 + 0.9 * done / warm
    return 0.5 + 0.5 * math.cos(math.pi * (done - warm) / (1 - warm))


@dataclass(frozen=True)
class Evaluation:
    """What a reader makes of a data set: the answers, the truth, and which are right."""

    answers: list[Answer]
    truth: list[str]

    @property
    def correct(self) -> list[bool]:
        """For each image, whether the answer is the true amount."""
        return [a.amount == t for a, t in zip(self.answers, self.truth, strict=True)]

    @property
    def accuracy(self) -> float:
        """Share of amounts that are read right."""
        return sum(self.correct) / max(1, len(self.truth))

    @property
    def confidences(self) -> list[float]:
        """The confidence of each answer."""
        return [answer.confidence for answer in self.answers]


def evaluate(reader: CheckReader, data: Segmented, *, workers: int = 0) -> Evaluation:
    """Read a whole data set."""
    batches = data.batches(range(len(data)), 32, workers=workers)
    items = [item for batch in batches for item in batch]
    answers = reader.read_segmentations([segmentation for segmentation, _ in items])
    return Evaluation(answers, [amount for _, amount in items])
