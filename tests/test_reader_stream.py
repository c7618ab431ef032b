"""Training on shards: every sample once an epoch, whatever processes; the same when resumed."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from team import CONFIG

from gtnet.reader import runs
from gtnet.reader.data import load
from gtnet.reader.phases import Phase
from gtnet.reader.plan import TrainingData, phases_of
from gtnet.reader.reader import CheckReader
from gtnet.reader.share import Share
from gtnet.reader.splits import DataConfig, splits
from gtnet.reader.stream import Held, Shards, StreamedPhase
from gtnet.reader.train import Trainer

pytest.importorskip("datasets", reason="datasets is missing: pip install 'gtnet-wfst[stream]'")

SHARDS, EACH = 7, 4


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as shard:
        for name, held in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(held)
            shard.addfile(member, io.BytesIO(held))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven shards of four amounts, the last two of which are not for training."""
    root, data = tmp_path_factory.mktemp("my [shards]"), load("digits", size=SHARDS * EACH)
    for number in range(SHARDS):
        files = {}
        for index in range(number * EACH, (number + 1) * EACH):
            image, amount = data[index]
            files |= {f"{index:03}.png": png(image), f"{index:03}.txt": f"{amount}\n".encode()}
        tar(root / f"{number}.tar", files)
    return root


@pytest.fixture(scope="module")
def shards(folder: Path) -> Shards:
    found = splits(DataConfig("shards", root=str(folder)), 0, "sliding").train
    assert isinstance(found, Shards)
    found.counted(found.examined(found.paths, str, {}))
    return found


def whole(shards: Shards, observe=np.transpose, **changed: object) -> StreamedPhase:
    """The second phase; columns of images are its observations, which are soon made."""
    config = replace(CONFIG, whole=replace(CONFIG.whole, batch_size=4), **changed)
    (phase,) = phases_of(CheckReader(config.reader), config, TrainingData(shards))
    assert isinstance(phase, StreamedPhase)
    phase.observe = observe
    phase.begin()
    return phase


def texts(phase: Phase, epoch: int, share: Share) -> list[list[list[str]]]:
    found = list(phase.batches(epoch, phase.order(), share))
    assert len(found) == phase.steps
    return [[[text for _, text in piece] for piece in pieces] for pieces in found]


def test_shards_hold_what_was_written(folder: Path, shards: Shards) -> None:
    data = load("digits", size=SHARDS * EACH)
    found = list(shards.samples())
    assert len(found) == len(shards) == 5 * EACH
    for index, sample in enumerate(found):
        np.testing.assert_array_equal(sample.read(), data[index][0])
        assert shards.text_of(sample) == data[index][1] and sample.name == f"{index:03}"
    held = Held(Shards((str(folder / "6.tar"),)), 3)
    assert [held.text(i) for i in range(len(held))] == [data[24 + i][1] for i in range(3)]


def test_an_epoch_has_every_sample_once_however_many_processes(shards: Shards) -> None:
    wanted = sorted(shards.text_of(sample) for sample in shards.samples())
    one = whole(shards, micro_batches=2)
    alone = texts(one, 0, Share(2, 0, 1))
    assert sorted(text for step in alone for piece in step for text in piece) == wanted
    both = [texts(one, 0, Share(2, rank, 2)) for rank in range(2)]
    assert [[*first, *second] for first, second in zip(*both, strict=True)] == alone
    assert texts(one, 0, Share(2, 0, 1)) == alone != texts(one, 1, Share(2, 0, 1))


def test_workers_have_shards_of_their_own(shards: Shards) -> None:
    wanted = sorted(shards.text_of(sample) for sample in shards.samples())
    found = texts(whole(shards, micro_batches=1, workers=2), 0, Share())
    assert sorted(text for step in found for piece in step for text in piece) == wanted


def test_parts_are_read_in_turn(shards: Shards) -> None:
    parted = replace(shards, parts=2)
    phase = whole(parted, micro_batches=1)
    found = [
        sorted(text for step in texts(phase, epoch, Share()) for piece in step for text in piece)
        for epoch in range(3)
    ]
    assert found[0] == found[2]
    assert sorted(found[0] + found[1]) == sorted(map(shards.text_of, shards.samples()))
    with pytest.raises(ValueError, match=r"5 shards cannot be shared by 3 lanes .* in 2 parts, 6"):
        whole(parted, micro_batches=3)


def test_lengths_in_a_micro_batch_are_alike(shards: Shards) -> None:
    phase = whole(shards, micro_batches=1)
    lengths = [[len(item[0]) for item in piece] for (piece,) in phase.batches(0, None, Share())]
    spans = sorted((min(some), max(some)) for some in lengths if some)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


def test_a_training_on_shards_is_resumed(shards: Shards, folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, micro_batches=1, whole=replace(CONFIG.whole, batch_size=8))
    valid = Held(Shards((str(folder / "6.tar"),)), 2)

    def trainer(name: str) -> Trainer:
        data = TrainingData(Shards(shards.paths, parts=2), valid)
        made = Trainer(config, data, tmp_path / name, quiet=True)
        made.film = None
        return made

    unbroken = trainer("one").run().state_dict()
    trainer("two").run(epochs=1)
    resumed = trainer("two")
    for name, tensor in resumed.run(resume=True).state_dict().items():
        torch.testing.assert_close(tensor, unbroken[name], rtol=0, atol=0)
    assert len(resumed.history) == 2 and resumed.fingerprint == shards.fingerprint


def test_wrong_shards_are_named(tmp_path: Path, folder: Path) -> None:
    image = png(load("digits", size=1)[0][0])
    tar(tmp_path / "labels.tar", {"1.png": image, "1.txt": b"12.00", "2.png": image, "2.txt": b"x"})
    tar(tmp_path / "alone.tar", {"1.png": image})
    (tmp_path / "cut.tar").write_bytes((folder / "0.tar").read_bytes()[:900])
    (tmp_path / "noise.tar").write_bytes(b"noise" * 400)
    for name, words in [
        ("labels", r"labels\.tar, 2: .*'x'"),
        ("alone", r"alone\.tar has the columns png: needed is"),
        ("cut", r"cut\.tar"),
        ("noise", r"noise\.tar"),
    ]:
        path = str(tmp_path / f"{name}.tar")
        with pytest.raises(ValueError, match=words):
            Shards((path,)).examined([path], str, {})
    with pytest.raises(ValueError, match=r"both tar and Parquet|no shards"):
        splits(DataConfig("shards", root=str(tmp_path / "none")), 0)


def test_an_image_that_cannot_be_opened_is_skipped(tmp_path: Path) -> None:
    image = png(load("digits", size=1)[0][0])
    tar(tmp_path / "a.tar", {"1.png": b"", "1.txt": b"1.00", "2.png": image, "2.txt": b"2.00"})
    shards = Shards((str(tmp_path / "a.tar"),))
    shards.counted(shards.examined(shards.paths, str, {}))
    phase = whole(shards, CheckReader(CONFIG.reader).front_end.observe, micro_batches=1)
    with pytest.warns(UserWarning, match=r"^1: cannot read an image.* it is skipped"):
        ((piece,),) = phase.batches(0, None, Share())
    assert sorted((text, len(seen) > 0) for seen, text in piece) == [
        ("1.00", False),
        ("2.00", True),
    ]


def test_parquet_files_are_shards_too(folder: Path, tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    wanted = list(Shards((str(folder / "0.tar"),)).samples())
    images = [{"bytes": sample.data, "path": f"{sample.name}.png"} for sample in wanted]
    for name, column in {"a": images, "b": [sample.data for sample in wanted]}.items():
        table = arrow.table({"image": column, "text": [sample.text for sample in wanted]})
        path = tmp_path / f"{name}.parquet"
        parquet.write_table(table, path)
        found = list(Shards((str(path),)).samples())
        assert [(s.data, s.text) for s in found] == [(s.data, s.text) for s in wanted]


def test_shards_are_asked_for(folder: Path, tmp_path: Path) -> None:
    run = runs.Run.start(tmp_path, data="shards", root=str(folder), parts=2, workers=0)
    assert (run.data.parts, run.training.workers) == (2, 0)
    assert "20 for training, 4 for validation, 4 for test" in run.check(quiet=True)
    with pytest.raises(ValueError, match="not held in memory"):
        run.parts()
    assert [len(part) for part in run.parts("valid")] == [4]
    for wrong, words in [
        ({"data": "digits", "parts": 2}, "--parts is an option of --data shards"),
        ({"data": "shards", "parts": 0}, "--parts must be at least 1"),
        ({"data": "shards", "workers": -1}, "--workers must be at least 0"),
        ({"data": "shards", "pretrain": "psd"}, "--pretrain psd learns from images in memory"),
    ]:
        with pytest.raises(ValueError, match=words):
            runs.Run.start(tmp_path, **wrong)
