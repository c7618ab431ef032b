"""The service: answers of the reader, limits, counts, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gtnet.reader import checkpoint
from gtnet.reader.answers import Answer
from gtnet.reader.cli import main
from gtnet.reader.data import load
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig

pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from gtnet.reader.serve import Limits, application
from gtnet.reader.serve.batches import Batches, BusyError
from gtnet.reader.serve.server import server

LIMITS = Limits(bytes=20_000, pixels=40_000, seconds=60.0, batch=4, waiting=6)


@pytest.fixture(scope="module")
def reader() -> CheckReader:
    """A reader that learnt nothing."""
    torch.manual_seed(0)
    return CheckReader(ReaderConfig(network=NetworkConfig(channels=(2, 2, 2), hidden=8))).eval()


@contextlib.contextmanager
def served(reader: CheckReader, limits: Limits = LIMITS) -> Iterator[int]:
    running = server(application(reader, model="m", best=2, limits=limits), limits)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(reader: CheckReader) -> Iterator[int]:
    with served(reader) as found:
        yield found


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as asking:
        asking.request(method, path, body, headers)
        response = asking.getresponse()
        text = response.read().decode()
    return response.status, json.loads(text) if text.startswith("{") else text


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [load("digits", size=6)[i][0] for i in range(6)]


def test_answers_are_those_of_the_reader(
    port: int, reader: CheckReader, images: list[np.ndarray]
) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda image: ask(port, "POST", "/read", png(image)), images))
    for (status, told), answer in zip(found, reader.read(images, best=2), strict=True):
        assert status == 200 and told["model"] == "m"
        assert told["text"] == answer.amount
        assert told["confidence"] == pytest.approx(answer.confidence, abs=1e-5)
        assert len(told["alternatives"]) == 1


def test_what_is_no_honest_image_is_refused(port: int, images: list[np.ndarray]) -> None:
    good = png(images[0])
    large = png(np.zeros((300, 300), np.uint8))
    for body, headers, status, words in [
        (b"", {}, 400, "no image"),
        (b"hello", {}, 422, "not an image"),
        (good[:100], {}, 422, "the image"),
        (large, {}, 422, "300 x 300 pixels, more than 40,000"),
        (bytes(30_000), {}, 413, "20,000 bytes, this has 30000"),
        (good, {"Origin": "http://elsewhere"}, 403, "not pages"),
    ]:
        found, told = ask(port, "POST", "/read", body, **headers)
        assert found == status and words in told["error"], told
    assert ask(port, "GET", "/read")[0] == 405
    assert ask(port, "POST", "/read", good)[0] == 200


def test_a_body_without_a_length_is_limited_too(port: int) -> None:
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asking.request("POST", "/read", iter([bytes(15_000)] * 3), encode_chunked=True)
    response = asking.getresponse()
    assert response.status == 413
    asking.close()


def test_health_and_counts(port: int, images: list[np.ndarray]) -> None:
    status, told = ask(port, "GET", "/health")
    assert status == 200 and told["status"] == "ready" and told["model"] == "m"
    before = counted(port)
    ask(port, "POST", "/read", png(images[0]))
    ask(port, "POST", "/read", b"hello")
    after = counted(port)
    for status in ("200", "422"):
        name = f'gtnet_requests_total{{status="{status}"}}'
        assert after[name] == before.get(name, 0) + 1
    assert after["gtnet_batch_images_count"] >= 1 and after["gtnet_waiting_images"] == 0
    assert after["process_resident_memory_bytes"] > 0


def counted(port: int) -> dict[str, float]:
    status, text = ask(port, "GET", "/metrics")
    assert status == 200
    rows = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in rows}


def test_images_that_come_together_are_read_together() -> None:
    sizes: list[int] = []

    async def work() -> list[Answer]:
        batches = Batches(lambda row: [Answer(str(one)) for one in row], most=4, told=sizes.append)
        running = asyncio.create_task(batches.run())
        try:
            return await asyncio.gather(*(batches.read(number) for number in range(9)))
        finally:
            running.cancel()

    answers = asyncio.run(work())
    assert [answer.amount for answer in answers] == [str(number) for number in range(9)]
    assert sizes == [4, 4, 1]


def test_one_image_that_fails_does_not_fail_the_others() -> None:
    def read(row: list[int]) -> list[Answer]:
        if 2 in row:
            raise ValueError("two")
        return [Answer(str(one)) for one in row]

    async def work() -> list:
        batches = Batches(read)
        running = asyncio.create_task(batches.run())
        asked = (batches.read(number) for number in range(4))
        try:
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            running.cancel()

    found = asyncio.run(work())
    assert [getattr(one, "amount", None) for one in found] == ["0", "1", None, "3"]
    assert isinstance(found[2], ValueError)


def test_too_many_are_told_to_come_again() -> None:
    async def work() -> list:
        batches = Batches(lambda row: [Answer("1") for _ in row], waiting=2)
        asked = [asyncio.create_task(batches.read(number)) for number in range(3)]
        await asyncio.sleep(0)
        running = asyncio.create_task(batches.run())
        found = await asyncio.gather(*asked, return_exceptions=True)
        running.cancel()
        return found

    found = asyncio.run(work())
    assert [isinstance(one, BusyError) for one in found] == [False, False, True]


def test_what_takes_too_long_is_given_up(images: list[np.ndarray]) -> None:
    class Slow(CheckReader):
        def read(self, given, **options):
            time.sleep(0.4)
            return super().read(given, **options)

    with served(Slow(), Limits(seconds=0.1)) as port:
        status, told = ask(port, "POST", "/read", png(images[0]))
        assert status == 504 and "0.1 seconds" in told["error"]
        with socket.create_connection(("127.0.0.1", port), timeout=30) as asking:
            asking.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
            assert b" 408 " in asking.recv(4096)


def test_the_command_ends_after_what_has_begun(
    reader: CheckReader, images: list[np.ndarray], tmp_path: Path
) -> None:
    checkpoint.save_reader(tmp_path, reader)
    command = [sys.executable, "-m", "gtnet.reader", "serve", "--model", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [*command, "--port", "0", "--threads", "1"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout is not None
        address = service.stdout.readline()
        port = int(address.rpartition(":")[2].partition("/")[0])
        body = png(images[0])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as asking:
            head = f"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
            asking.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
            assert b" 100 " in asking.recv(4096)  # it has begun
            service.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            asking.sendall(body)
            assert b" 200 " in asking.recv(4096)
        assert service.wait(30) in (0, -signal.SIGTERM)


def test_wrong_options_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in [
        (["--port", "70000"], "--port"),
        (["--best", "0"], "--best"),
        (["--timeout", "0"], "seconds must be above 0"),
        (["--model", "/nowhere"], "/nowhere"),
    ]:
        assert main(["serve", *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error and "Traceback" not in error
