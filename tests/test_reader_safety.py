"""Training that loses nothing: locks, fingerprints, full disks, damaged files, bounded memory."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_reader_own_data import good, strokes
from test_reader_reading import SLIDING, untrained

from gtnet.reader import checkpoint, cli, runs
from gtnet.reader.checkpoint import load_reader, save_json, save_reader, save_tensors
from gtnet.reader.claim import claimed
from gtnet.reader.film import FILM, Film
from gtnet.reader.front_end import SegmentsFrontEnd
from gtnet.reader.observed import Observed
from gtnet.reader.reader import PRESETS, CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.runs import Run
from gtnet.reader.segment import SegmentConfig
from gtnet.reader.train import CHECKPOINT, PhaseConfig, TrainConfig, Trainer, TrainingData

SMALLEST = NetworkConfig((2, 2, 2), hidden=4)
FRONT_ENDS = ["segments", "sliding"]
BLANK = np.full((24, 40), 250, np.uint8)


def config(front_end: str = "segments", epochs: int = 1) -> TrainConfig:
    return TrainConfig(
        whole=PhaseConfig(epochs=epochs, rate=1e-3, batch_size=1),
        reader=ReaderConfig(
            network=SMALLEST, sliding=SLIDING, front_end=front_end, grammar="digit_string"
        ),
    )


class Few:
    """A few images and their digits."""

    grammar = "digit_string"

    def __init__(self, items: list[tuple[np.ndarray, str]]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        return self.items[index]


def few(*texts: str) -> TrainingData:
    return TrainingData(Few([(strokes(n + 1), text) for n, text in enumerate(texts)]))


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_blank_image_alone_in_a_batch_is_skipped(front_end: str, tmp_path: Path) -> None:
    data = TrainingData(Few([(BLANK, "1"), (strokes(1), "1"), (BLANK, "2")]))
    trainer = Trainer(config(front_end), data, tmp_path, quiet=True)
    trainer.run()
    assert trainer.history[0]["skipped"] == 2 and np.isfinite(trainer.history[0]["loss"])


def test_labels_outside_the_grammar_are_found_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2 faults:\n  item 1: .*'1.50'.*\n  item 2: .*'x'"):
        Trainer(config(), few("1", "1.50", "x"), tmp_path, quiet=True).run()
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A training that was stopped after the first of two epochs."""
    Trainer(config(epochs=2), few("1", "2"), tmp_path, quiet=True).run(epochs=1)
    return tmp_path


def test_other_data_do_not_continue_a_training(interrupted: Path) -> None:
    with pytest.raises(ValueError, match="made with other data"):
        Trainer(config(epochs=2), few("1", "3"), interrupted, quiet=True).run(resume=True)
    Trainer(config(epochs=2), few("1", "2"), interrupted, quiet=True).run(resume=True)


def test_a_damaged_film_does_not_block_resuming(interrupted: Path) -> None:
    (interrupted / FILM).write_bytes(b"nothing")
    with pytest.warns(UserWarning, match=f"starts anew.*{FILM}"):
        Trainer(config(epochs=2), few("1", "2"), interrupted, quiet=True).run(resume=True)
    film = Film.load(interrupted, SegmentConfig())
    assert film is not None and "global training, epoch 2" in film.frames


@pytest.mark.parametrize("other", ["model", "state"])
def test_what_is_no_checkpoint_is_named(other: str, interrupted: Path) -> None:
    if other == "model":
        save_reader(interrupted, CheckReader(config().reader), CHECKPOINT)
    else:
        save_tensors(interrupted / CHECKPOINT, {}, [1])
    with pytest.raises(ValueError, match=rf"{CHECKPOINT} is no checkpoint"):
        Trainer(config(epochs=2), few("1", "2"), interrupted, quiet=True).run(resume=True)


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from gtnet.reader.claim import claimed\n"
        "with claimed(Path(sys.argv[1])): print('here', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"here\n"
    with pytest.raises(ValueError, match=rf"process {other.pid}.*another folder"):
        Trainer(config(), few("1"), tmp_path, quiet=True).run()
    other.kill()
    other.wait()
    Trainer(config(), few("1"), tmp_path, quiet=True).run()  # the lock went with its process


def test_a_claim_may_be_made_again(tmp_path: Path) -> None:
    with claimed(tmp_path), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass


def test_finished_and_interrupted_trainings_are_kept(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "out", data="folder", root=str(good(tmp_path / "own")))
    save_reader(run.out, untrained())
    with pytest.raises(ValueError, match=r"finished training: give --overwrite"):
        run.train(quiet=True)
    (run.out / checkpoint.MODEL).rename(run.out / CHECKPOINT)
    with pytest.raises(ValueError, match=r"interrupted training: continue it with --resume"):
        run.train(quiet=True)


def test_overwriting_leaves_nothing_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "splits", lambda self, *given, **options: None)
    run = Run.start(tmp_path / "out", data="folder", root=str(good(tmp_path / "own")))
    run.out.mkdir()
    for name in (CHECKPOINT, checkpoint.MODEL, runs.REPORT, FILM):
        (run.out / name).write_text("old")

    def stop(self: Run, *rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "_train", stop)
    with pytest.raises(KeyboardInterrupt):
        run.train(overwrite=True, quiet=True)
    assert [path.name for path in run.out.iterdir()] == [".lock"]


def test_an_interruption_names_a_command_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my runs"

    def stop(self: Trainer, **rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run", stop)
    command = ["train", "--data", "folder", "--root", str(good(tmp_path / "own"))]
    assert cli.main([*command, "--front-end", "sliding", "--out", str(out)]) == 130
    error = capsys.readouterr().err
    assert f"continue with gtnet train --resume --out '{out}'" in error
    monkeypatch.undo()
    monkeypatch.chdir("/")
    resumed = Run.load(out)
    monkeypatch.setattr(Trainer, "run", stop)
    with pytest.raises(KeyboardInterrupt):  # it begins anew: there is no checkpoint yet
        resumed.train(resume=True, quiet=True)


# Files


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.zeros(4)}, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write") as raised:
            save_tensors(path, {"x": torch.zeros(10_000)}, "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert checkpoint.load_tensors(path)[1] == "old"


def test_a_full_disk_does_not_spoil_resuming(interrupted: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write"):
            Trainer(config(epochs=2), few("1", "2"), interrupted, quiet=True).run(resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(interrupted.glob("*.new"))
    Trainer(config(epochs=2), few("1", "2"), interrupted, quiet=True).run(resume=True)


@pytest.mark.parametrize("kind", ["dot", "html"])
def test_a_picture_on_a_full_disk_costs_no_other_answer(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_reader(tmp_path / "model", untrained())
    Image.fromarray(strokes(21)).save(tmp_path / "1.png")
    images, picture = [str(tmp_path / "1.png")] * 2, tmp_path / f"graph.{kind}"
    command = ["read", *images, "--model", str(tmp_path / "model"), "--draw", str(picture)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        code = cli.main(command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = capsys.readouterr()
    assert code == 2 and told.out.count("confidence") == 2
    assert told.err.count(": cannot write: File too large") == 2 and str(tmp_path) in told.err
    assert not list(tmp_path.glob("*.new")) and not list(tmp_path.glob(f"*.{kind}"))


def test_a_lock_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write") as raised, claimed(tmp_path / "run"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(tmp_path / "run" / ".lock")
    with claimed(tmp_path / "run"):  # and it is free afterwards
        pass


def test_warnings_of_commands_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(options: object) -> int:
        warnings.warn("load_tensors: film.safetensors is damaged", stacklevel=2)
        return 0

    monkeypatch.setitem(cli._RUN, "train", warn)
    assert cli.run(argparse.Namespace(command="train")) == 0
    assert capsys.readouterr().err == "gtnet train: film.safetensors is damaged\n"


def test_json_is_valid(tmp_path: Path) -> None:
    value = {"a": float("inf"), "b": [float("nan"), 1.5, (float("-inf"),)], "c": "é"}
    save_json(tmp_path / "a.json", value)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads((tmp_path / "a.json").read_text("utf-8"), parse_constant=refuse)
    assert found == {"a": None, "b": [None, 1.5, [None]], "c": "é"}


@pytest.mark.parametrize("name", [checkpoint.CONFIG, runs.DATA])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "should be a mapping"),
        ('{"seed": ', "no whole JSON file"),
        ('{"seed": "x"}', "seed should be int, it is 'x'"),
        ('{"speed": 1}', "has no speed"),
        ("\udcff", "no whole JSON file"),
    ],
)
def test_damaged_settings_are_named(name: str, content: str, words: str, tmp_path: Path) -> None:
    save_json(tmp_path / checkpoint.CONFIG, checkpoint.as_dict(TrainConfig()))
    save_json(tmp_path / runs.DATA, checkpoint.as_dict(runs.DataConfig()))
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=rf"{name}.*{words}"):
        Run.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": 5}, "NetworkConfig should be a mapping, it is 5"),
        ({"network": {"channels": [1, 2]}}, "NetworkConfig.channels should be"),
        ({"candidates": True}, "candidates should be int"),
        ({"grammar": "latin"}, "latin"),
        ({"wings": 2}, "another version"),
    ],
)
def test_a_reader_of_strange_settings_is_named(change: dict, words: str, tmp_path: Path) -> None:
    reader = untrained()
    state = {"reader": {**checkpoint.as_dict(reader.config), **change}}
    save_tensors(tmp_path / checkpoint.MODEL, reader.state_dict(), state)
    with pytest.raises(ValueError, match=words):
        load_reader(tmp_path)


def recognizer(front_end: str) -> Recognizer:
    torch.manual_seed(0)
    if front_end == "sliding":
        return Recognizer("ab", ["ab", "ba"], PRESETS["sliding"](config("sliding").reader))
    network = NetworkConfig((2, 2, 2), hidden=4, classes=3)
    return Recognizer("ab", ["ab", "ba"], SegmentsFrontEnd(size=network))


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_recognizer_without_newer_keys_loads(front_end: str, tmp_path: Path) -> None:
    save_reader(tmp_path, recognizer(front_end))
    tensors, state = checkpoint.load_tensors(tmp_path / checkpoint.MODEL)
    for key in ("unsure", "temperature", "candidates"):
        del state["recognizer"][key]
    save_tensors(tmp_path / checkpoint.MODEL, tensors, state)
    read = load_reader(tmp_path)
    assert (read.unsure, read.temperature, read.candidates) == (0.0, 1.0, 5)
    for wrong in ("alphabet", "settings"):
        kept = {**state["recognizer"]}
        del kept[wrong]
        save_tensors(tmp_path / checkpoint.MODEL, tensors, {"recognizer": kept})
        with pytest.raises(ValueError, match=f"lacks '{wrong}'.*another version"):
            load_reader(tmp_path)
    save_tensors(tmp_path / checkpoint.MODEL, tensors, {"recognizer": 5})
    with pytest.raises(ValueError, match="describes no recognizer"):
        load_reader(tmp_path)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_flipped_bits_are_found(front_end: str, tmp_path: Path) -> None:
    save_reader(tmp_path, recognizer(front_end))
    path = tmp_path / checkpoint.MODEL
    data = bytearray(path.read_bytes())
    data[-40] ^= 16
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{checkpoint.MODEL} is damaged: its checksum"):
        load_reader(tmp_path)


def test_files_without_a_checksum_load(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    reader = untrained()
    state = json.dumps({"reader": checkpoint.as_dict(reader.config)})
    tensors = {name: tensor.contiguous() for name, tensor in reader.state_dict().items()}
    save_file(tensors, tmp_path / checkpoint.MODEL, {"state": state})
    assert load_reader(tmp_path).state_dict().keys() == reader.state_dict().keys()


def test_weights_that_are_no_numbers_name_the_model(tmp_path: Path) -> None:
    reader = untrained()
    with torch.no_grad():
        next(reader.parameters())[0] = float("nan")
    save_reader(tmp_path, reader)
    with pytest.raises(ValueError, match=rf"{tmp_path}.*not all finite numbers"):
        load_reader(tmp_path)


def test_a_training_that_goes_astray_stops_at_the_epoch_before(interrupted: Path) -> None:
    astray = Trainer(config(epochs=2), few("1", "2"), interrupted, quiet=True)
    step = astray._step

    def poisoned(*given: object) -> None:
        step(*given)  # type: ignore[arg-type]
        with torch.no_grad():
            next(astray.reader.parameters()).fill_(float("nan"))

    astray._step = poisoned  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"went astray in epoch 2 of global training.*rate"):
        astray.run(resume=True)
    Trainer(config(epochs=2), few("1", "2"), interrupted, quiet=True).run(resume=True)


def test_a_checkpoint_is_no_model(interrupted: Path) -> None:
    with pytest.raises(ValueError, match="not written by gtnet train as a reader"):
        load_reader(interrupted / CHECKPOINT)


# Memory


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("workers", [0, 1])
def test_memory_is_bounded_and_changes_nothing(front_end: str, workers: int) -> None:
    data = few(*"123456").train
    observe = untrained(front_end).front_end.observe
    free, bounded = Observed(data, observe), Observed(data, observe, memory=1)
    order = [3, 0, 5, 1, 2, 4]
    for _ in range(2):
        both = [
            [item for batch in seen.batches(order, 4, workers=workers) for item in batch]
            for seen in (free, bounded)
        ]
        for (one, x), (other, y) in zip(*both, strict=True):
            assert x == y and len(one) == len(other)
    assert len(free._cache) == 6 and len(bounded._cache) == 1


def test_the_default_memory_holds_the_demo() -> None:
    from gtnet.reader.data import load
    from gtnet.reader.observed import MEMORY, _bytes

    data, observe = load("digits", size=3), untrained().front_end.observe
    sizes = [_bytes(observe(data[i][0])) for i in range(3)]
    assert min(sizes) > 10_000 and 500 * max(sizes) < MEMORY
