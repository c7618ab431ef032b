"""What nobody labelled: found, opened when asked, and labelled by a teacher where it is sure."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_reader_own_data import good, strokes

from gtnet.reader import CheckReader, ReaderConfig, TrainConfig, checkpoint, save_reader
from gtnet.reader.answers import Answer
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.runs import Run
from gtnet.reader.segment import SegmentConfig
from gtnet.reader.train import PhaseConfig
from gtnet.reader.unlabelled import Unlabelled, digests_of, taught

SMALL = ReaderConfig(
    segment=SegmentConfig(max_pieces=2), network=NetworkConfig(channels=(2, 3, 4), hidden=8)
)


class Teacher:
    """Reads the number that `strokes` wrote, the more surely the larger it is."""

    def read(self, images: Sequence[np.ndarray]) -> list[Answer]:
        numbers = [self.number(image) for image in images]
        return [Answer(f"{n}.50" if n else None, confidence=n / 10) for n in numbers]

    @staticmethod
    def number(image: np.ndarray) -> int:
        return sum(1 << bit for bit in range(6) if image[10, 7 + 8 * bit] == 30)


class Few:
    grammar = "amount"

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        return strokes(50 + index), f"{50 + index}.00"


def scans(root: Path, numbers: Sequence[int]) -> Path:
    root.mkdir()
    for number in numbers:
        Image.fromarray(strokes(number)).save(root / f"{number:02}.png")
    return root


def test_files_folders_pages_and_shards_are_found_once(tmp_path: Path) -> None:
    root = scans(tmp_path / "scans", [1, 2, 3])
    (root / "deeper").mkdir()
    pages = [Image.fromarray(strokes(n)) for n in (2, 4, 5)]  # 2 is there already
    pages[0].save(root / "deeper" / "pages.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(np.full((30, 60), 255, np.uint8)).save(root / "empty.png")
    (root / "broken.png").write_bytes(b"no image")
    (root / "notes.txt").write_text("not looked at")
    with tarfile.open(tmp_path / "more.tar", "w") as shard:
        held = io.BytesIO()
        Image.fromarray(strokes(6)).save(held, "png")
        info = tarfile.TarInfo("inner/6.png")
        info.size = held.tell()
        held.seek(0)
        shard.addfile(info, held)
    known = digests_of(Few(), None)
    alone = tmp_path / "51.png"
    Image.fromarray(strokes(51)).save(alone)
    found = Unlabelled(map(str, [root, tmp_path / "more.tar", alone]), known=known)
    assert [Teacher.number(found[i]) for i in range(len(found))] == [1, 2, 3, 4, 5, 6]
    assert "broken.png" in found.notes[0] and "3 empty, there twice or labelled" in found.notes[1]
    again = Unlabelled([str(root), str(tmp_path / "more.tar")])
    assert again.fingerprint == found.fingerprint != Unlabelled([str(root)]).fingerprint


def test_where_there_is_nothing_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"nothing to learn from[\s\S]*a file of sound"):
        Unlabelled([str(tmp_path)])
    with pytest.raises(ValueError, match="missing"):
        Unlabelled([str(tmp_path / "missing")])


def test_a_teacher_labels_what_it_is_sure_of() -> None:
    images = [strokes(n) for n in range(11)]
    data = taught(Few(), images, Teacher(), 0.7, accepts=lambda text: float(text) != 8.5 or fail())
    assert len(data) == 2 + 3 and data.chosen == [7, 9, 10]
    assert [data[i][1] for i in range(5)] == ["50.00", "51.00", "7.50", "9.50", "10.50"]
    assert [data.text(i) for i in range(5)] == [data[i][1] for i in range(5)]
    assert Teacher.number(data[3][0]) == 9 and data.grammar == "amount"
    with pytest.raises(IndexError, match="item 5 of 5"):
        data[5]
    assert len(taught(Few(), images, Teacher(), 0)) == 2 + 10  # 0 has no reading
    with pytest.raises(ValueError, match="none of 3 images with a confidence"):
        taught(Few(), images[:3], Teacher())
    with pytest.raises(ValueError, match="from 0 to 1, got 2"):
        taught(Few(), images, Teacher(), 2)


def fail() -> None:
    raise ValueError("not in the language")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"data": "digits", "root": None, "unlabelled": ("x",)},
            "--unlabelled is an option of --data car_a",
        ),
        ({"unlabelled": ("x",)}, "--unlabelled alone teaches nothing"),
        ({"teacher": "x"}, "say with --unlabelled"),
        ({"unlabelled": ("x",), "sure": 0.5, "pretrain": "psd"}, "--sure is of the answers"),
        ({"unlabelled": ("x",), "teacher": "x", "sure": -1.0}, "--sure must be from 0 to 1"),
    ],
)
def test_options_that_teach_nothing_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Run.start(**{"data": "folder", "root": ".", **wrong})


def test_a_run_learns_from_what_a_teacher_reads(tmp_path: Path, capsys) -> None:
    root, more = good(tmp_path / "own"), scans(tmp_path / "more", [3, 20, 21, 22])
    save_reader(tmp_path / "teacher", CheckReader(SMALL))
    run = Run.start(
        tmp_path / "out",
        data="folder",
        root=str(root),
        unlabelled=(str(more),),
        teacher=str(tmp_path / "teacher"),
        sure=0.0,
    )
    phase = PhaseConfig(epochs=1, rate=1e-3, batch_size=8)
    run = replace(
        run, training=TrainConfig(isolated=phase, whole=phase, characters=20, reader=SMALL)
    )
    assert "3 without labels" in run.check(quiet=True)  # 3.png is labelled
    run.train()
    told = capsys.readouterr().out
    assert "labels 3 of 3 images" in told and "1 empty, there twice or labelled" in told
    assert "labelled by a teacher: 3 of 3, by" in (run.out / "MODEL_CARD.md").read_text()
    kept = json.loads((run.out / "data.json").read_text())
    assert kept["unlabelled"] == [str(more)] and Run.load(run.out) == run
    state = checkpoint.load_reader(run.out).state_dict()
    run.train(resume=True, quiet=True)
    again = checkpoint.load_reader(run.out).state_dict()
    assert all((state[name] == again[name]).all() for name in state)
    (more / "20.png").unlink()
    with pytest.raises(ValueError, match="other data"):
        run.train(resume=True, quiet=True)
