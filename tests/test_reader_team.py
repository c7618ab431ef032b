"""Training in several processes gives what training in one gives, whatever happens to them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import team as two
import torch

from gtnet.reader import checkpoint
from gtnet.reader.commands.train import _run_of
from gtnet.reader.data import load
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.runs import DATA, Run
from gtnet.reader.share import Share
from gtnet.reader.sliding import SlidingConfig
from gtnet.reader.step import PRECISIONS, Gradients
from gtnet.reader.team import Team, joined
from gtnet.reader.train import Trainer, TrainingData
from gtnet_command import parser


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[two.Watched, Path]:
    """An unbroken training of one process; and one of an epoch alone, the others in two processes,
    of which one is killed."""
    folder = tmp_path_factory.mktemp("runs")
    unbroken = two.Watched(folder / "one")
    unbroken.run()
    two.Watched(folder / "two").run(epochs=1)
    command = [sys.executable, two.__file__, str(folder / "two")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return unbroken, folder


def test_the_command_trains_in_two_processes(runs: tuple[two.Watched, Path]) -> None:
    out = runs[1] / "two"
    assert [(out / f"code-{rank}").read_text() for rank in range(2)] == ["0", "0"]
    assert Run.load(out / "command").training.micro_batches == 2
    assert (out / "command" / "report.html").is_file()


def test_losses_are_those_of_one_process(runs: tuple[two.Watched, Path]) -> None:
    unbroken, folder = runs
    told = json.loads((folder / "two" / "told.json").read_text())
    assert told["size"] == 2 and told["restarts"] == 1
    rows = [json.loads((folder / name / "history.json").read_text()) for name in ("one", "two")]
    for one, both in zip(*rows, strict=True):
        assert both["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert both["skipped"] == one["skipped"]
        assert both["valid_accuracy"] == one["valid_accuracy"]
    # Steps of both processes; those before the restart were told by processes that are gone.
    assert len(told["steps"]) >= 20
    for step, loss in told["steps"].items():
        assert loss == pytest.approx(unbroken.steps[step], abs=1e-5), step


def test_the_reader_is_that_of_one_process(runs: tuple[two.Watched, Path]) -> None:
    _, folder = runs
    one, both = (checkpoint.load_reader(folder / n).state_dict() for n in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_losses_with_graphs_as_buffers_under(way: str, runs: tuple[two.Watched, Path]) -> None:
    found, _ = checkpoint.load_tensors(runs[1] / "two" / "wrapped.safetensors")
    for number, weight in enumerate(two.learnt(two.Sequences(), two.frames(), two.TEXTS)):
        torch.testing.assert_close(found[f"{way}.{number}"], weight, rtol=1e-5, atol=1e-6)


def test_micro_batches_are_the_batch() -> None:
    for pieces in range(1, 6):
        shares = [Share(pieces, rank, 2 if pieces > 1 else 1) for rank in range(2)]
        parts = [piece for share in shares[: shares[0].size] for piece in share.mine("abcdefg")]
        assert sorted("".join(parts)) == list("abcdefg")
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(ValueError, match=r"2 processes, but the batches .* 1 micro-batches"):
        Share(1, 0, 2)


def test_accumulated_gradients_are_those_of_the_batch(tmp_path: Path) -> None:
    """Statistics of batch normalization apart, which the second phase of segments keeps."""
    train = load("digits", size=9)
    readers = []
    for pieces in (1, 4):
        config = replace(
            two.CONFIG,
            isolated=replace(two.CONFIG.isolated, epochs=0),
            whole=replace(two.CONFIG.whole, epochs=1, batch_size=9, jitter=0.0),
            micro_batches=pieces,
            reader=replace(
                two.CONFIG.reader, network=replace(two.CONFIG.reader.network, dropout=0.0)
            ),
        )
        trainer = Trainer(config, TrainingData(train), tmp_path / str(pieces), quiet=True)
        for phase in trainer.phases:
            phase.pretrained = True
        readers.append(trainer.run().state_dict())
        losses = trainer.history[0]["loss"]
    assert losses > 0
    for name, tensor in readers[0].items():
        torch.testing.assert_close(readers[1][name], tensor, rtol=1e-3, atol=1e-5)


def test_lines_of_every_share_are_read_once(tmp_path: Path) -> None:
    seen: list[str] = []
    config = replace(two.CONFIG, reader=LINES["sliding"])
    trainer = Trainer(config, TrainingData(load("digits", size=11)), tmp_path, quiet=True)
    (phase,) = trainer.phases
    for rank in range(2):
        for pieces in phase.batches(0, torch.arange(11), Share(3, rank, 2)):
            seen += [text for piece in pieces for _, text in piece]
    assert sorted(seen) == sorted(text for _, text in load("digits", size=11))


def test_lines_are_observed_ahead_by_workers(tmp_path: Path) -> None:
    found = []
    for workers in (0, 1):
        config = replace(two.CONFIG, reader=LINES["sliding"], workers=workers)
        data = TrainingData(load("digits", size=7))
        (phase,) = Trainer(config, data, tmp_path, quiet=True).phases
        torch.manual_seed(0)
        pieces = [piece for both in phase.batches(0, phase.order(), Share(2)) for piece in both]
        found.append([item for piece in pieces for item in piece])
        assert all(phase.written.knows(index) for index in range(7))  # and not observed again
        found[-1].append((torch.rand(1).item(), ""))  # no number of the training was drawn
    assert len(found[0]) == 8 and found[0].pop() == found[1].pop()
    for (one, text), (other, same) in zip(*found, strict=True):
        assert text == same and one.ink.tobytes() == other.ink.tobytes()


def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    readers = []
    for backend in ("", "eager"):
        config = replace(
            two.CONFIG,
            isolated=replace(two.CONFIG.isolated, epochs=0),
            whole=replace(two.CONFIG.whole, epochs=1, jitter=0.0),
            compile=backend,
            micro_batches=1,
            reader=replace(
                two.CONFIG.reader, network=replace(two.CONFIG.reader.network, dropout=0.0)
            ),
        )
        data = TrainingData(load("digits", size=6))
        trainer = Trainer(config, data, tmp_path / (backend or "none"), quiet=True)
        assert (trainer.reader.network._compiled_call_impl is None) == (not backend)
        readers.append(trainer.run())
        assert readers[-1].network._compiled_call_impl is None  # what is kept and read with
    for one, other in zip(readers[0].parameters(), readers[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


LINES = {
    "sliding": ReaderConfig(
        front_end="sliding", sliding=SlidingConfig(channels=(4,) * 6, context=4, dropout=0.0)
    ),
    "segmental": ReaderConfig(front_end="segmental"),
    "segments": replace(two.CONFIG.reader, network=NetworkConfig((4, 8, 8), 24, 0.0)),
}


@pytest.mark.parametrize("front_end", LINES)
def test_networks_may_compute_in_bfloat16(front_end: str) -> None:
    torch.manual_seed(0)
    reader = CheckReader(LINES[front_end])
    images, texts = zip(*(load("digits", size=2)[i] for i in range(2)))
    items = list(zip(reader.observe(images), texts))
    found = {}
    for precision in PRECISIONS:
        gradients = Gradients(reader.network, Share(), Team(), precision=precision)
        found[precision] = gradients.of([items], lambda rows: reader.loss(*zip(*rows)), [0]).loss
        assert all(weight.grad.isfinite().all() for weight in reader.parameters())
        assert any(weight.grad.abs().sum() > 0 for weight in reader.parameters())
    assert found["bfloat16"] != found["float32"]
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.05)


def test_how_gradients_are_taken_is_asked_for() -> None:
    training = Run.start(micro_batches=4, precision="bfloat16", clip=1.5).training
    assert (training.micro_batches, training.precision, training.clip) == (4, "bfloat16", 1.5)
    for wrong in ({"micro_batches": 0}, {"precision": "int8"}, {"clip": 0.0}, {"compile": "x"}):
        with pytest.raises(ValueError, match=f"--{next(iter(wrong)).replace('_', '-')}"):
            Run.start(**wrong)


def test_a_team_that_starts_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command, in what torchrun starts after a failure, is a --resume."""
    run = Run.start(tmp_path / "run", size=7, micro_batches=3)
    options = parser().parse_args(["train", "--size", "7", "--out", str(run.out)])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert _run_of(options) == (
        replace(run, training=replace(run.training, micro_batches=1)),
        False,
    )
    run.out.mkdir()
    checkpoint.save_json(run.out / DATA, checkpoint.as_dict(run.data))
    checkpoint.save_json(run.out / checkpoint.CONFIG, checkpoint.as_dict(run.training))
    assert _run_of(options) == (run, True)


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        where = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in where.items():
            monkeypatch.setenv(name, value)
        told = f"could not meet at 127.0.0.1:{port}.*taken"
        with pytest.raises(ValueError, match=told), joined():
            pass
    assert Team.current() == Team()


def test_what_differs_between_processes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    team = Team(0, 2)
    monkeypatch.setattr(Team, "of_all", lambda self, value: [value, _other(value)])
    with pytest.raises(ValueError, match="same versions: process 0 has gtnet 1, process 1 has"):
        team.agree("versions", "gtnet 1")


def _other(value: object) -> object:
    return value if isinstance(value, bool) else "gtnet 2"
