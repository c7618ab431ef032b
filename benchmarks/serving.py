"""A load test of `gtnet serve` on this machine: requests a second, latencies, memory, refusals.

    python -m benchmarks.serving --model runs/digits --clients 8 --requests 2000
    python -m benchmarks.serving --model runs/digits --rate 10 --minutes 10

Each client sends the next image when it has the answer to the last. With --rate requests are due so
many times a second, whether others are answered or not, and latencies count from when they are due.
Then come a thousand requests that hold no image.
"""

from __future__ import annotations

import argparse
import http.client
import io
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from gtnet.reader.data import load


def bodies(count: int = 200) -> list[bytes]:
    """Amounts as PNG files."""
    found = []
    data = load("digits", split="test", size=count)
    for index in range(count):
        file = io.BytesIO()
        Image.fromarray(data[index][0]).save(file, "png")
        found.append(file.getvalue())
    return found


def malformed(count: int) -> list[bytes]:
    """What is no image: noise, images cut short, a header that claims 10^10 pixels, nothing."""
    rng = np.random.default_rng(0)
    good = bodies(8)
    bomb = bytearray(good[0])
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    kinds = [
        lambda: rng.bytes(int(rng.integers(1, 5000))),
        lambda: good[int(rng.integers(8))][: int(rng.integers(1, 120))],
        lambda: bytes(bomb),
        lambda: b"",
    ]
    return [kinds[i % len(kinds)]() for i in range(count)]


def load_of(
    port: int, sent: list[bytes], clients: int, rate: float | None = None
) -> tuple[Counter, np.ndarray, float]:
    """Statuses, latencies in seconds, and the seconds it took."""
    statuses: Counter = Counter()
    latencies: list[float] = []
    work = iter(enumerate(sent))
    lock = threading.Lock()

    def client() -> None:
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                number, body = next(work, (0, None))
            if body is None:
                break
            due = time.perf_counter() if rate is None else began + number / rate
            if rate is not None:  # by somebody who did not ask before
                time.sleep(max(0.0, due - time.perf_counter()))
                asking.close()
            asking.request("POST", "/read", body)
            response = asking.getresponse()
            response.read()
            with lock:
                statuses[response.status] += 1
                latencies.append(time.perf_counter() - due)
        asking.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, np.array(latencies), time.perf_counter() - began


def resident(pid: int) -> float:
    """Megabytes a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def cpu(pid: int) -> float:
    """Seconds of CPU a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rate", type=float, help="requests a second, in place of --requests")
    parser.add_argument("--minutes", type=int, default=10)
    given = parser.parse_args()
    command = [sys.executable, "-m", "gtnet.reader", "serve", "--model", given.model, "--port", "0"]
    service = subprocess.Popen([*command, "--threads", "1"], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    try:
        port = int(service.stdout.readline().rpartition(":")[2].partition("/")[0])
        images, found = bodies(), []
        load_of(port, images[:64], 4)
        print(f"memory after 64 requests {resident(service.pid):.0f} MB")
        if given.rate is None:
            loads = [(clients, given.requests) for clients in given.clients]
        else:  # minute by minute
            loads = [(32, round(60 * given.rate))] * given.minutes
        for clients, requests in loads:
            sent = [images[i % len(images)] for i in range(requests)]
            before = cpu(service.pid)
            statuses, latencies, seconds = load_of(port, sent, clients, given.rate)
            used = cpu(service.pid) - before
            p50, p99 = np.quantile(latencies, [0.5, 0.99]) * 1000
            print(
                f"{clients:3} clients: {dict(statuses)}, {len(sent) / seconds:.1f} a second,"
                f" {len(sent) / used:.1f} a CPU second, p50 {p50:.0f} ms, p99 {p99:.0f} ms, memory"
                f" {resident(service.pid):.0f} MB",
                flush=True,
            )
            found.append(latencies)
        p50, p99 = np.quantile(np.concatenate(found), [0.5, 0.99]) * 1000
        print(f"all: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        statuses, _, seconds = load_of(port, malformed(1000), 8)
        print(f"malformed: {dict(statuses)} in {seconds:.0f} s, {resident(service.pid):.0f} MB")
        statuses, _, _ = load_of(port, images[:32], 4)
        print(f"and then: {dict(statuses)}")
    finally:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    main()
