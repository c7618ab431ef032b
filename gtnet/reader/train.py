"""Training a reader in two phases: characters or made-up strings, then whole amounts.

The first phase teaches the network single characters with cross-entropy (segments), or lines
that nobody wrote (networks over lines). The second trains the whole graph transformer network with
amounts as the only labels, by default through the difference of two forward scores (LeCun, Bottou,
Bengio & Haffner 1998, sections VI and X).
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gtnet.reader import checkpoint
from gtnet.reader.answers import fitted_temperature
from gtnet.reader.claim import claimed
from gtnet.reader.data import text_of
from gtnet.reader.evaluation import Evaluation as Evaluation
from gtnet.reader.evaluation import evaluate as evaluate
from gtnet.reader.film import Film
from gtnet.reader.observed import Observed
from gtnet.reader.observed import Segmented as Segmented
from gtnet.reader.phases import PHASES as PHASES
from gtnet.reader.phases import Phase as Phase
from gtnet.reader.phases import PhaseConfig as PhaseConfig
from gtnet.reader.plan import TrainConfig as TrainConfig
from gtnet.reader.plan import TrainingData as TrainingData
from gtnet.reader.plan import phases_of
from gtnet.reader.pretrain import check_pretrainable, pretrain
from gtnet.reader.prior import Prior
from gtnet.reader.reader import CheckReader
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.share import Share
from gtnet.reader.step import Gradients
from gtnet.reader.stream import Shards, StreamedPhase
from gtnet.reader.tables import Faults
from gtnet.reader.team import Team

CHECKPOINT = "checkpoint.safetensors"
ISOLATED = "isolated.safetensors"
HISTORY = "history.json"
SHARDS = "shards.json"
_ASTRAY = 1e9


class Trainer:
    """Trains a reader and keeps everything needed to continue after an interruption in one folder.

    Each epoch draws its randomness from (seed, phase, epoch), so a run that is stopped and
    resumed from the checkpoint of its last finished epoch gives what an unbroken run gives.
    Files: config.json, history.json, checkpoint.safetensors (after every epoch),
    isolated.safetensors (the reader after the first phase), model.safetensors (after the last),
    film.safetensors (how one image was read after every epoch), shards.json (what is in shards).

    Under torchrun, where `torch.distributed` is initialized, the processes share every batch and
    all train the same reader; the first writes the files, and its checkpoint is what all resume.

    `reader`: the recognizer to train, by default the `CheckReader` of the configuration; `start`: a
    trained one of the same kind, whose weights take the place of the first phase; `fingerprint`:
    of the data, by default of its texts, so that no other data continue a training.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData,
        out: Path | str,
        *,
        reader: Recognizer | None = None,
        start: Recognizer | None = None,
        fingerprint: str | None = None,
        quiet: bool = False,
    ) -> None:
        self.config, self.data, self.out = config, data, Path(out)
        self.team = Team.current()
        self.share = Share(config.micro_batches, self.team.rank, self.team.size)
        self.quiet = quiet or not self.team.leads
        torch.manual_seed(config.seed)
        self.reader: Recognizer = CheckReader(config.reader) if reader is None else reader
        check_pretrainable(self.reader.network, config.pretrain)
        if start is not None and config.pretrain != "none":
            raise ValueError(
                "Trainer: a reader to start from needs no pretraining; give one of both"
            )
        if start is not None:
            try:
                self.reader.load_state_dict(start.state_dict())
            except RuntimeError as error:
                raise ValueError(f"Trainer: start is a reader of another kind: {error}") from error
        if config.compile:  # in place; its copies, which read and are kept, are not compiled
            self.reader.network.compile(backend=config.compile)
        self.average = _copied(self.reader)
        self.fingerprint = fingerprint
        self.history: list[dict[str, Any]] = []
        self._texts: list[str] = []  # of the training part, then of the validation part
        self.valid: Observed | None = None
        if data.valid is not None:
            self.valid = Observed(data.valid, self.reader.front_end.observe)
        self.phases = phases_of(self.reader, config, data)
        if start is not None:
            self.phases = [phase for phase in self.phases if phase.name == "whole"]
        watched = data.train if data.valid is None else data.valid
        self.film: Film | None = None
        drawn = reader is None and config.reader.front_end == "segments"
        if drawn and not isinstance(watched, Shards) and len(watched) and self.team.leads:
            self.film = Film.of(watched, config.reader.segment)

    def run(self, *, resume: bool = False, epochs: int | None = None) -> Recognizer:
        """Train through all phases, or continue from the checkpoint in the folder.

        `epochs`: stop after so many epochs of this call, as if interrupted. Returns the reader
        with the (averaged) weights of the last epoch, in evaluation mode. Raises ValueError when
        there is no checkpoint to resume from, it belongs to another configuration or other data,
        another training runs in the folder, or an amount is outside the language (all are named).
        """
        if not self.team.leads:
            return self._run(resume, epochs)
        with claimed(self.out):
            return self._run(resume, epochs)

    def _run(self, resume: bool, epochs: int | None) -> Recognizer:
        texts = self._texts = self.team.together(self._checked_texts)
        if isinstance(self.data.train, Shards):
            self._count(self.data.train)
        self.fingerprint = self.fingerprint or hashlib.sha256("\n".join(texts).encode()).hexdigest()
        self.team.agree("data", f"data with the fingerprint {self.fingerprint[:16]}")
        first_phase, first_epoch, remembered = self._begin(resume)
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

    def _begin(self, resume: bool) -> tuple[int, int, dict[str, Tensor]]:
        """Where to begin: the phase, its epoch and what the optimizer remembers, in all processes.

        Only the first needs to see the folder.
        """

        def begin() -> tuple[int, int, dict[str, Tensor]]:
            found = self._load() if resume and self.team.leads else (0, 0, {})
            if self.team.leads:
                checkpoint.save_json(self.out / checkpoint.CONFIG, checkpoint.as_dict(self.config))
            return found

        found = self.team.together(begin)
        if not resume and self.config.pretrain != "none":
            self._pretrain()
        state = self.reader.state_dict(), self.average, self.history, found
        weights, self.average, self.history, found = self.team.of_lead(state)
        self.reader.load_state_dict(weights)
        return found

    def _pretrain(self) -> None:
        """Begin with what the network learns from ink alone."""
        given, observe = self.data.unlabelled, self.reader.front_end.observe
        if given is None:
            if isinstance(self.data.train, Shards):
                raise ValueError(
                    "pretrain: shards are not held in memory; give some images with unlabelled="
                )
            seen = Observed(self.data.train, observe)
            observations = [seen[0, index][0] for index in range(len(seen))]
        else:
            observations = [observe(given[index]) for index in range(len(given))]
        pretrain(
            self.reader.network,
            observations,
            self.config.pretrain,
            seed=self.config.seed,
            quiet=self.quiet,
        )
        self.average = _copied(self.reader)

    def _checked_texts(self) -> list[str]:
        """The texts of all amounts. Raises ValueError that lists those outside the language."""
        faults, texts = Faults(), []
        parts = [part for part in (self.data.train, self.data.valid) if part is not None]
        for part in (part for part in parts if not isinstance(part, Shards)):
            for index in range(len(part)):
                try:
                    text = text_of(part, index)
                    self.reader.acceptor(text)
                    texts.append(text)
                except ValueError as error:
                    kind = "item" if part is self.data.train else "validation item"
                    faults.add(index, f"{kind} {index}: {error}")
        faults.raise_any()
        return texts

    def _count(self, shards: Shards) -> None:
        """Count and check what is in shards, each by one process, and deal them out."""
        path, team = self.out / SHARDS, self.team
        there = team.leads and path.is_file()
        known = team.of_lead(team.together(lambda: checkpoint.load_json(path) if there else {}))
        own = shards.paths[team.rank :: team.size]
        parts = team.of_all(
            team.together(lambda: shards.examined(own, self.reader.acceptor, known))
        )
        found = {name: told for part in parts for name, told in part.items()}
        shards.counted(found)
        if team.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            checkpoint.save_json(path, found)
        self.fingerprint = self.fingerprint or shards.fingerprint
        self._texts = shards.texts + self._texts
        for phase in self.phases:
            if isinstance(phase, StreamedPhase):
                phase.begin()

    def _epoch(
        self, number: int, phase: Phase, epoch: int, optimizer: torch.optim.Optimizer
    ) -> None:
        """One pass over the data of a phase, its line of the history, and a checkpoint."""
        began = time.perf_counter()
        torch.manual_seed(1_000_003 * self.config.seed + 1_009 * number + epoch + 1)
        phase.prepare()
        order = phase.order()
        total, used, skipped, steps = 0.0, 0, 0, 0
        title = f"{phase.name} {epoch + 1}/{phase.config.epochs}"
        gradients = Gradients(
            self.reader.network, self.share, self.team, precision=self.config.precision
        )
        batches = phase.batches(epoch, order, self.share)
        with tqdm(total=phase.steps, desc=title, disable=self.quiet, leave=False) as bar:
            try:
                for step, pieces in enumerate(batches, start=epoch * phase.steps):
                    found = gradients.of(pieces, phase.loss, [self.config.seed, number, step])
                    if found.used:
                        self._step(phase, step, optimizer)
                    total, used = total + found.loss, used + found.used
                    skipped, steps = skipped + found.skipped, steps + bool(found.used)
                    bar.set_postfix(loss=f"{total / max(1, steps):.3f}", refresh=False)
                    bar.update()
            except ValueError:
                self._check_weights(phase, epoch)  # what fails first is what reads the scores
                raise
        self._check_weights(phase, epoch)
        self.history.append(
            {
                "phase": phase.name,
                "epoch": epoch + 1,
                "loss": total / max(1, steps),
                "skipped": skipped,
                "per_second": round((used + skipped) / (time.perf_counter() - began), 1),
                "valid_accuracy": self._valid_accuracy(),
                "seconds": round(time.perf_counter() - began, 1),
            }
        )
        self._tell(self.history[-1])
        self._shoot(f"{PHASES[phase.name]}, epoch {epoch + 1}")
        self._save(number, epoch + 1, optimizer)

    def _check_weights(self, phase: Phase, epoch: int) -> None:
        """Raises ValueError when training has gone astray."""
        if not all(bool((t.abs() < _ASTRAY).all()) for t in self.reader.state_dict().values()):
            raise ValueError(
                f"training went astray in epoch {epoch + 1} of {PHASES[phase.name]}: weights are"
                f" beyond {_ASTRAY:.0e} or no numbers; lower the rate of the phase,"
                f" {phase.config.rate} (in {self.out}, {CHECKPOINT} is of the epoch before)"
            )

    def _step(self, phase: Phase, step: int, optimizer: torch.optim.Optimizer) -> None:
        rate = phase.config.rate * _one_cycle(step / (phase.steps * phase.config.epochs))
        for group in optimizer.param_groups:
            group["lr"] = rate
        nn.utils.clip_grad_norm_(self.reader.network.parameters(), self.config.clip)
        optimizer.step()
        kept = min(self.config.average, (step + 1) / (step + 10))
        for name, value in self.reader.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - kept)
            else:
                self.average[name].copy_(value)

    def _averaged(self) -> Recognizer:
        reader = self.reader.twin()
        reader.load_state_dict(self.average)
        return reader.eval()

    def _shoot(self, caption: str) -> None:
        """One more frame of the film, unless a resumed run has it already."""
        if self.film is not None and caption not in self.film.frames:
            self.film.shoot(self._averaged(), caption)

    def _valid_accuracy(self) -> float | None:
        if self.valid is None:
            return None
        return evaluate(self._averaged(), self.valid, team=self.team).accuracy

    def _finish(self, phase: Phase) -> None:
        """After a phase: keep its reader, and let the next one start from it."""
        self.reader.load_state_dict(self.average)
        name = checkpoint.MODEL if phase.name == "whole" else ISOLATED
        if phase.name == "whole" and self.config.prior:
            train, alphabet = self.data.train, self.reader.alphabet
            texts = train.texts if isinstance(train, Shards) else self._texts[: len(train)]
            self.reader.expect(Prior.of(texts, alphabet, self.config.prior))
        if phase.name == "whole" and self.config.calibrate and self.valid is not None:
            found = evaluate(self._averaged(), self.valid, team=self.team)
            temperature = fitted_temperature(found.answers, found.truth)
            self.reader.calibrate(temperature)
        if self.team.leads:
            checkpoint.save_reader(self.out, self._averaged(), name)

    def _save(self, phase: int, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if not self.team.leads:
            return
        tensors = checkpoint.optimizer_tensors(optimizer)
        tensors |= {f"reader.{name}": t for name, t in self.reader.state_dict().items()}
        tensors |= {f"average.{name}": t for name, t in self.average.items()}
        state = {
            "phase": phase,
            "epoch": epoch,
            "history": self.history,
            "config": checkpoint.as_dict(self.config),
            "data": self.fingerprint,
        }
        # The checkpoint last: what is beside it is made again from it, or kept.
        if self.film is not None:
            self.film.save(self.out)
        checkpoint.save_json(self.out / HISTORY, self.history)
        checkpoint.save_tensors(self.out / CHECKPOINT, tensors, state)

    def _load(self) -> tuple[int, int, dict[str, Tensor]]:
        path = self.out / CHECKPOINT
        if not path.is_file():
            raise ValueError(f"resume: no checkpoint {path}; train without --resume first")
        tensors, state = checkpoint.load_tensors(path)
        if not isinstance(state, dict) or not {"phase", "epoch", "history", "config"} <= {*state}:
            raise ValueError(f"resume: {path} is no checkpoint of a training")
        if checkpoint.from_dict(TrainConfig, state["config"], str(path)) != self.config:
            raise ValueError(
                f"resume: {path} was made with other settings; see {checkpoint.CONFIG} beside it,"
                " or choose another folder with --out"
            )
        if state.get("data", self.fingerprint) != self.fingerprint:
            raise ValueError(
                f"resume: {path} was made with other data: images or labels have changed since;"
                " train anew, in another folder or over the old training (--overwrite)"
            )
        self.reader.load_state_dict(_under("reader.", tensors))
        self.average = _under("average.", tensors)
        self.history = state["history"]
        try:
            self.film = Film.load(self.out, self.config.reader.segment) or self.film
        except ValueError as error:
            warnings.warn(f"the film of learning starts anew: {error}", stacklevel=2)
        return state["phase"], state["epoch"], tensors

    def _tell(self, row: dict[str, Any]) -> None:
        if not self.quiet:
            parts = [f"{row['phase']:>8} epoch {row['epoch']:2}: loss {row['loss']:.3f}"]
            if row["valid_accuracy"] is not None:
                parts.append(f"{row['valid_accuracy']:.1%} of validation amounts read")
            if row["skipped"]:
                parts.append(f"{row['skipped']} skipped: the truth has no path")
            speed = f"{row['seconds']:.0f} s, {row['per_second']:.0f} items a second"
            if self.team.size > 1:
                each = row["per_second"] / self.team.size
                speed += f", {each:.0f} in each of {self.team.size} processes"
            tqdm.write(", ".join([*parts, speed]))


def _copied(reader: Recognizer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in reader.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def _one_cycle(done: float) -> float:
    """The learning rate, relative to the highest, when a share `done` of a phase is done."""
    warm = 0.15
    if done < warm:
        return 0.1 + 0.9 * done / warm
    return 0.5 + 0.5 * math.cos(math.pi * (done - warm) / (1 - warm))
