"""Many images: every one of them once in the output, whatever they are and whoever dies."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gtnet.reader import checkpoint
from gtnet.reader.bulk import Job, items, parts, processes, work
from gtnet.reader.bulk.parts import Chunk, Parts
from gtnet.reader.bulk.work import Asked, Worker
from gtnet.reader.cli import main
from gtnet.reader.data import load
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.reading import records
from gtnet.reader.recognize import NetworkConfig


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader that learnt nothing."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    network = NetworkConfig(channels=(2, 2, 2), hidden=8)
    checkpoint.save_reader(folder, CheckReader(ReaderConfig(network=network)))
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten amounts, a file of two pages, and four files that hold no image."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "inner").mkdir()
    pages = [Image.fromarray(load("digits", size=10)[i][0]) for i in range(10)]
    for number, page in enumerate(pages):
        page.save(folder / ("inner" if number % 2 else ".") / f"{number}.png")
    pages = [page.convert("RGB") for page in pages[:2]]
    pages[0].save(folder / "two.tif", save_all=True, append_images=[pages[1]])
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:200])
    (folder / "text.jpg").write_text("no image")
    Image.new("1", (10_000, 10_000)).save(folder / "bomb.png")
    (folder / "labels.tsv").write_text("file\tamount\n")
    return folder


def asked(model: Path, index: Path | str = "") -> Asked:
    return Asked(str(index), str(model), "id", 2, 0.0)


def images(folder: Path) -> list[str]:
    return [item.path for item in items.listed([str(folder)])]


class Alone:
    """Workers in this process, that stop after some runs."""

    def __init__(self, model: Path, stop: int = 10**9) -> None:
        self.model, self.stop, self.ran = model, stop, []

    def __call__(self, chunks: Iterator[Chunk], told: Asked, *_: object) -> Iterator:
        worker = Worker(told)
        for chunk in chunks:
            if len(self.ran) == self.stop:
                raise KeyboardInterrupt
            self.ran.append(chunk.number)
            yield chunk, worker.chunk(chunk), 1


def test_rows_are_those_of_the_plain_command(model: Path, scans: Path) -> None:
    files = images(scans)
    plain = list(records(checkpoint.load_reader(model), files, best=2))
    found = Worker(asked(model)).rows(items.listed([str(scans)]))
    assert [row["file"] for row in found] == [record.file for record in plain]
    assert len(found) == 16 and sum(row["verdict"] == "unreadable" for row in found) == 4
    for row, record in zip(found, plain, strict=True):
        if record.answer is not None:
            assert row["text"] == record.answer.amount
            assert row["confidence"] == pytest.approx(record.answer.confidence, abs=1e-5)
        else:
            assert row["reason"] == record.error


def test_one_image_that_fails_in_reading_does_not_end_the_others(
    model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(asked(model))
    read = worker.reader.read

    def fails(given, **options):
        if any(image.shape == poison.shape for image in given):
            raise RuntimeError("a fault of the library")
        return read(given, **options)

    poison = np.asarray(Image.open(scans / "4.png"))
    monkeypatch.setattr(worker.reader, "read", fails)
    rows = worker.rows(items.listed([str(scans)]))
    assert len(rows) == 16
    assert [row["reason"] for row in rows if row["file"].endswith("/4.png")] == [
        "a fault of the library"
    ]
    assert sum(row["verdict"] == "unreadable" for row in rows) == 5


def test_tar_and_parquet_hold_the_same_images(model: Path, scans: Path, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    files = [path for path in images(scans) if "bomb" not in path]
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for path in files:
            shard.add(path, Path(path).name)
        note = tarfile.TarInfo("0.json")
        shard.addfile(note, io.BytesIO())
    data = [Path(path).read_bytes() for path in files]
    structs = [{"bytes": one, "path": Path(path).name} for one, path in zip(data, files)]
    plain = arrow.table({"image": data, "amount": ["1"] * len(data)})
    for name, table in {"plain": plain, "structs": arrow.table({"image": structs})}.items():
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=4)
    worker = Worker(asked(model))
    wanted = worker.rows(items.Item(path, path) for path in files)
    for name in ("shard.tar", "plain.parquet", "structs.parquet"):
        rows = worker.rows(items.listed([str(tmp_path / name)]))
        for row, own in zip(rows, wanted, strict=True):
            for key in ("text", "confidence", "verdict", "alternatives"):
                assert row[key] == own[key]
    assert worker.rows(items.listed([str(tmp_path / "shard.tar")]))[0]["file"].endswith(
        "shard.tar/0.png"
    )
    with pytest.raises(ValueError, match="amount holds no images; image would"):
        list(items.listed([str(tmp_path / "plain.parquet")], "amount"))
    (tmp_path / "bad.tar").write_text("no tar file")
    with pytest.raises(ValueError, match=r"bad\.tar is no tar file"):
        list(items.listed([str(tmp_path / "bad.tar")]))


@pytest.mark.parametrize("suffix", parts.FORMATS)
def test_an_interrupted_job_is_continued(
    suffix: str, model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"answers{suffix}"
    first, second = Alone(model, stop=2), Alone(model)
    monkeypatch.setattr(processes, "run", first)
    arguments = ["read", "--in", str(scans), "--out", str(out), "--model", str(model), "--best=2"]
    arguments += ["--chunk", "3", "--quiet"]
    assert main(arguments) == 130 and not out.exists()
    assert main(arguments) == 2  # --resume is asked for
    monkeypatch.setattr(processes, "run", second)
    assert main([*arguments, "--resume", "--min-confidence=0.5"]) == 2  # another job
    (scans / "later.png").write_bytes(b"")  # what comes later is no part of the job
    try:
        assert main([*arguments, "--resume"]) == 0
    finally:
        (scans / "later.png").unlink()
    assert first.ran + second.ran == list(range(5))
    assert not Parts(out).folder.exists()
    rows = read_back(out)
    wanted = Worker(asked(model)).rows(items.listed([str(scans)]))
    assert [row["file"] for row in rows] == [row["file"] for row in wanted]
    assert [row["text"] or None for row in rows] == [row["text"] for row in wanted]
    assert len({row["model"] for row in rows}) == 1
    assert main(arguments) == 2  # the output is there


def read_back(out: Path) -> list[dict]:
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in out.read_text().splitlines()]
    if out.suffix == ".csv":
        with out.open(newline="") as file:
            return list(csv.DictReader(file))
    from pyarrow import parquet

    return parquet.read_table(out).to_pylist()


def test_paths_come_from_standard_input(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "run", Alone(model))
    given = [str(scans / "2.png"), str(scans / "missing.png"), str(scans / "0.png")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(given) + "\n"))
    out = tmp_path / "answers.jsonl"
    assert main(["read", "--in", "-", "--out", str(out), "--model", str(model), "--quiet"]) == 0
    assert [row["file"] for row in read_back(out)] == given


def test_wrong_jobs_are_one_sentence(
    model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "answers.csv")
    for arguments, words in [
        (["--in", str(scans)], "--out"),
        (["--out", out], "--in"),
        (["--in", str(scans), "--out", str(tmp_path / "a.xlsx")], ".parquet, .csv"),
        (["--in", str(scans), "--out", out, "--workers", "0"], "--workers"),
        (["--in", str(scans), "--out", out, "--address", "a:1"], "--engine ray"),
        (["--in", str(tmp_path), "--out", out], "nothing to read"),
        (["--out", out, "--resume"], "no interrupted job"),
        ([], "--in"),
    ]:
        assert main(["read", *arguments, "--model", str(model)]) == 2
        error = capsys.readouterr().err
        assert words in error and "Traceback" not in error and error.count("\n") == 1


class Died:
    """A pool whose workers die of one image."""

    def __init__(self, told: Asked, workers: int) -> None:
        self.asked, self.starts = told, 0

    def submit(self, function, given):
        future = processes.Future()
        names = [Path(item.name).name for item in given]
        if "4.png" in names:
            future.set_exception(processes.BrokenProcessPool())
        else:
            future.set_result(([{"file": name} for name in names], 1))
        return future

    @property
    def pool(self) -> Died:
        return self

    def restart(self) -> None:
        self.starts += 1

    alone = processes._Pool.alone


def test_an_image_that_kills_workers_becomes_a_row(model: Path, scans: Path) -> None:
    pool = Died(asked(model), 1)
    given = list(items.listed([str(scans)]))
    rows, _ = pool.alone(given)
    assert [Path(row["file"]).name for row in rows] == [Path(item.name).name for item in given]
    bad = [row for row in rows if "verdict" in row]
    assert len(bad) == 1 and bad[0]["verdict"] == "unreadable" and "died" in bad[0]["reason"]
    assert 2 <= pool.starts <= 8


def test_kills_lose_nothing(model: Path, scans: Path, tmp_path: Path) -> None:
    """A worker is killed, then the whole job; what is left continues."""
    out = tmp_path / "answers.jsonl"
    listing = tmp_path / "paths"
    listing.write_text("".join(f"{path}\n" for path in images(scans) * 20))
    command = [sys.executable, "-m", "gtnet.reader", "read", "--in", "-", "--out", str(out)]
    command += ["--model", str(model), "--workers", "2", "--chunk", "10", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    job = subprocess.Popen(command, stdin=listing.open(), env=environment)
    folder = Parts(out).folder
    try:
        wait_for(folder, 2)
        workers = readers_under(job.pid)
        os.kill(workers[0], signal.SIGKILL)
        wait_for(folder, 8)
        workers = readers_under(job.pid)
    finally:
        job.kill()
        job.wait()
    wait_until(lambda: not any(map(alive, workers)))  # they end with the job
    done = len(list(folder.glob("part-*")))
    assert 8 <= done < 28
    assert Job(out, model, 1, chunk=10).run([], resume=True, quiet=True).rows == 16 * 20
    files = [row["file"].partition("#")[0] for row in read_back(out)]
    assert sorted(set(files)) == sorted(images(scans))
    assert all(files.count(file) == (40 if file.endswith(".tif") else 20) for file in set(files))


def readers_under(job: int) -> list[int]:
    servers = [pid for pid in children(job) if b"forkserver" in cmdline(pid)]
    return [pid for server in servers for pid in children(server)]


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(folder: Path, count: int) -> None:
    wait_until(lambda: len(list(folder.glob("part-*.jsonl"))) >= count)


def wait_until(true) -> None:
    end = time.monotonic() + 100
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_worker_says_how_much_memory_it_has() -> None:
    assert 2**24 < work.memory() < 2**40
