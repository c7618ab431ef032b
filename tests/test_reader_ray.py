"""Many images by a cluster of Ray, whose nodes may die: `make test-ray` installs it, runs these."""

# ruff: noqa: F401, F811 - fixtures are imported

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_reader_bulk import asked, children, cmdline, images, model, read_back, scans

from gtnet.reader.bulk import Job, items
from gtnet.reader.bulk.parts import Parts
from gtnet.reader.bulk.work import Worker

if os.environ.get("GTNET_RAY") != "1":
    pytest.skip("a cluster of Ray takes minutes: make test-ray", allow_module_level=True)
ray = pytest.importorskip("ray")


def test_ray_gives_the_same(model: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    job = Job(out, model, 1, chunk=4, best=2, engine="ray")
    assert job.run([str(scans)], quiet=True).rows == 16
    rows = read_back(out)
    wanted = Worker(asked(model)).rows(items.listed([str(scans)]))
    assert [(row["file"], row["text"]) for row in rows] == [(r["file"], r["text"]) for r in wanted]


@pytest.fixture
def cluster() -> Iterator:
    """A node that leads, and one that works; each with a core."""
    from ray.cluster_utils import Cluster

    made = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def test_a_node_that_dies_loses_nothing(
    cluster, model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, times, size = images(scans), 60, 16
    out, written, readers = tmp_path / "answers.jsonl", [], []
    node = cluster.list_all_nodes()[1]
    write = Parts.write

    def kill() -> None:
        raylet = node.all_processes["raylet"][0].process.pid
        readers.extend(pid for pid in children(raylet) if b"MapWorker" in cmdline(pid))
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)

    def watched(parts: Parts, chunk, rows) -> None:
        written.append((chunk.number, parts._part(chunk.number).exists()))
        write(parts, chunk, rows)
        if len(written) == 6:
            killer.start()  # reading goes on while the node is killed

    monkeypatch.setattr(Parts, "write", watched)
    job = Job(out, model, 2, chunk=size, engine="ray", address=cluster.address)
    told = job.run(given * times, quiet=True)
    killer.join()
    assert readers and len(cluster.list_all_nodes()) == 1
    runs = -(-len(given) * times // size)
    assert sorted(written) == [(number, False) for number in range(runs)]
    assert (told.read, told.rows) == (len(given) * times, 16 * times)
    files = [row["file"].partition("#")[0] for row in read_back(out)]
    assert Counter(files) == {name: times * (1 + name.endswith(".tif")) for name in given}
    assert list(dict.fromkeys(files)) == given
