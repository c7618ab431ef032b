"""What tests/test_reader_team.py has two processes do: train a reader, and losses under DDP, FSDP2.

Given a folder that holds the beginning of a training. The second process kills itself once, in the
middle of the second epoch. torchrun's agent forks the processes, so that what they import is
imported once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

import gtnet
from gtnet.reader import checkpoint, runs
from gtnet.reader.cli import main
from gtnet.reader.data import load
from gtnet.reader.film import Film
from gtnet.reader.reader import ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.step import Gradients
from gtnet.reader.team import joined, restarts
from gtnet.reader.train import PhaseConfig, TrainConfig, Trainer, TrainingData

CONFIG = TrainConfig(
    isolated=PhaseConfig(epochs=2, rate=5e-3, batch_size=20, jitter=0.3),
    whole=PhaseConfig(epochs=2, rate=5e-3, batch_size=5, jitter=0.3),
    characters=200,
    average=0.9,
    micro_batches=3,
    reader=ReaderConfig(network=NetworkConfig(channels=(4, 8, 8), hidden=24)),
)
"""Batches cut into 3: each with a dropout, a jitter and statistics of its own."""


def data() -> TrainingData:
    train = load("digits", size=23)
    return TrainingData(train, load("digits", split="valid", size=5), [train.characters(200)])


class Watched(Trainer):
    """A trainer that tells the loss of every step."""

    def __init__(self, out: Path) -> None:
        super().__init__(CONFIG, data(), out, quiet=True)
        self.film = None  # pictures take longer than the training
        self.steps: dict[str, float] = {}

    def _epoch(self, number, phase, epoch, optimizer):
        of = Gradients.of

        def told(gradients, pieces, losses, seed):
            if (
                number == 0
                and seed[-1] % phase.steps == 3
                and self.team.rank == 1
                and not restarts()
            ):
                os.kill(os.getpid(), signal.SIGKILL)
            found = of(gradients, pieces, losses, seed)
            self.steps[str((number, seed[-1]))] = found.loss
            return found

        Gradients.of = told
        try:
            super()._epoch(number, phase, epoch, optimizer)
        finally:
            Gradients.of = of


class Sequences(nn.Module):
    """A network over frames with a loss that holds a graph: its scores are buffers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))
        topology = gtnet.ctc_topology(4)
        self.criterion = gtnet.nn.LFMMILoss(topology.with_weights(topology.weights - 0.5))

    def forward(self, frames: torch.Tensor, texts: list[list[int]]) -> torch.Tensor:
        return self.criterion(gtnet.Emissions(self.network(frames)), gtnet.ctc_graph(texts))


TEXTS = [[1, 2], [3], [2, 1], [1]]


def frames() -> torch.Tensor:
    return torch.randn(4, 7, 6, generator=torch.Generator().manual_seed(1))


def learnt(model: nn.Module, given: torch.Tensor, texts: list[list[int]]) -> list[torch.Tensor]:
    """The weights after two steps of SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        model(given, texts).backward()
        optimizer.step()
    return [weight.detach() for weight in model.parameters()]


def wrapped(rank: int) -> dict[str, list[torch.Tensor]]:
    """What two processes learn, half of the batch each, under both ways to share a network."""
    mine = slice(2 * rank, 2 * rank + 2)
    found = {"ddp": learnt(DistributedDataParallel(Sequences()), frames()[mine], TEXTS[mine])}
    shards = learnt(fully_shard(Sequences()), frames()[mine], TEXTS[mine])
    found["fsdp"] = [weight.full_tensor() for weight in shards]
    return found


def work(out: str) -> None:
    """What each process does."""
    with joined() as team:
        trainer = Watched(Path(out))
        trainer.run(resume=True)
        found = wrapped(team.rank)
        if team.leads:
            tensors = {f"{k}.{i}": t for k, row in found.items() for i, t in enumerate(row)}
            checkpoint.save_tensors(Path(out, "wrapped.safetensors"), tensors)
            told = {"steps": trainer.steps, "size": team.size, "restarts": restarts()}
            Path(out, "told.json").write_text(json.dumps(told))
        runs.USUAL["digits"] = replace(CONFIG, micro_batches=1)
        Film.of = lambda *_: None
        runs.write_report = lambda path, _: path.write_text("")
        runs.DataConfig = partial(runs.DataConfig, test_size=4)
        asked = ["train", "--size", "12", "--epochs", "1", "--isolated-epochs", "1"]
        code = main([*asked, "--out", str(Path(out, "command"))])
        Path(out, f"code-{team.rank}").write_text(str(code))


if __name__ == "__main__":
    import torch._dynamo  # which optimizers import: here once, and not in every process

    torch.set_num_threads(1)
    load("digits", size=1)
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        max_restarts=1,
        monitor_interval=0.1,
        start_method="fork",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
    )
    elastic_launch(settings, work)(sys.argv[1])
