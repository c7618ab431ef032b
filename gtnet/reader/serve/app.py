"""The service: what it answers, what it refuses, and what it counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from anyio import fail_after, to_thread
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import gtnet
from gtnet.reader.reading import Record, values_of
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.serve.batches import Batches, BusyError
from gtnet.reader.upload import MOST_PIXELS, opened


@dataclass(frozen=True)
class Limits:
    """What is refused: more bytes or pixels, and what takes longer (seconds).

    `batch`: images read together at most, `wait`: seconds that the first waits for others,
    `waiting`: images that may wait; what comes beyond is told to come again.
    """

    bytes: int = 10 * 2**20
    pixels: int = MOST_PIXELS
    seconds: float = 10.0
    batch: int = 32
    wait: float = 0.01
    waiting: int = 256


class _RefusedError(Exception):
    def __init__(self, status: int, told: str) -> None:
        super().__init__(told)
        self.status = status


def application(
    reader: Recognizer, *, model: str = "", best: int = 3, least: float = 0.0, limits: Limits
) -> Starlette:
    """The service of one reader of images.

    POST /read takes the bytes of an image file and answers with JSON, as `gtnet read --json` does;
    GET /health; GET /metrics for Prometheus. `model`: a name for it in answers.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    requests = Counter("gtnet_requests", "Answers by HTTP status", ["status"], registry=registry)
    seconds = Histogram("gtnet_request_seconds", "From request to answer", registry=registry)
    sizes = Histogram(
        "gtnet_batch_images",
        "Images read together",
        buckets=(1, 2, 4, 8, 16, 32),
        registry=registry,
    )
    batches = Batches(
        partial(reader.read, best=best),
        most=limits.batch,
        wait=limits.wait,
        waiting=limits.waiting,
        told=sizes.observe,
    )
    waiting = Gauge("gtnet_waiting_images", "Images that wait to be read", registry=registry)
    waiting.set_function(lambda: batches.waiting)

    async def read(request: Request) -> Response:
        began, data = time.perf_counter(), b""
        try:
            with fail_after(limits.seconds):
                data = await _body(request, limits.bytes)
                open_it = partial(opened, data, "the image", limits.pixels)
                image = await to_thread.run_sync(open_it, abandon_on_cancel=True)
                answer = await batches.read(image)
            told = values_of(Record("", answer, image), best, least)
            del told["file"]
            response = JSONResponse({**told, "model": model})
        except TimeoutError:
            late = 504 if data else 408
            response = _wrong(late, f"this took more than {limits.seconds:g} seconds")
        except BusyError:
            response = _wrong(503, f"{limits.waiting} images wait already: try again later")
            response.headers["retry-after"] = "1"
        except _RefusedError as refused:
            response = _wrong(refused.status, str(refused))
        except ValueError as error:
            response = _wrong(422, str(error))
        except ClientDisconnect:
            response = _wrong(400, "the image did not come whole")
        requests.labels(response.status_code).inc()
        seconds.observe(time.perf_counter() - began)
        return response

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ready", "model": model, "version": gtnet.__version__})

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        reading = asyncio.create_task(batches.run())
        yield  # what is asked for is answered before this goes on
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading

    return Starlette(
        routes=[
            Route("/read", read, methods=["POST"]),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        lifespan=lifespan,
    )


async def _body(request: Request, most: int) -> bytes:
    """The body of a request; no more of it is read than is allowed."""
    if "origin" in request.headers:  # a page that makes the browser of somebody here ask
        raise _RefusedError(403, "this service answers programs, not pages of other sites")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise _RefusedError(413, f"an image may have {most:,} bytes, this has {length}")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most:
            raise _RefusedError(413, f"an image may have {most:,} bytes, this has more")
    if not data:
        raise _RefusedError(400, "there is no image: send the bytes of a file as the body")
    return bytes(data)


def _wrong(status: int, told: str) -> JSONResponse:
    return JSONResponse({"error": told}, status)
