"""The server of the page: its files, and the answers to its questions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import gtnet
from gtnet.explore import graphs, inputs, learning
from gtnet.explore.guard import Guard, TooLongError
from gtnet.explore.models import Model, side_by_side
from gtnet.explore.operands import operands
from gtnet.explore.together import look_together, question_of
from gtnet.reader.figures import image_uri

LIMIT = 24 * 2**20
"""Bytes of the largest thing that a page may send: a scan of a whole page."""

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FILES = ("page.css", "common.js", "graphs.js", "learn.js", "page.js", "paper.js", "read.js")


class _Desk:
    """What the server answers; one question at a time, as torch uses all cores for each."""

    def __init__(self, models: Sequence[Model], weights: Sequence[float], data: Any) -> None:
        self.models, self.weights, self.data = models, weights, data
        self.learners = [learning.Learners(model.reader) for model in models]
        self.work = threading.Lock()

    def about(self) -> dict[str, Any]:
        """What the page is told once."""
        reader = self.models[0].reader
        return {
            "readers": [
                {
                    "name": one.name,
                    "front_end": one.reader.front_end.name,
                    "threshold": one.threshold,
                }
                for one in self.models
            ],
            "version": gtnet.__version__,
            "alphabet": list(reader.alphabet),
            "nothing": reader.alphabet.symbols[-1],
            "losses": learning.losses(),
            "operations": {"one": list(graphs.ONE), "two": list(graphs.TWO)},
            "weighed": list(graphs.WEIGHED),
            "samples": len(self.data) if self.data is not None else 0,
        }

    def read(self, asked: dict[str, Any]) -> dict[str, Any]:
        """An image, read and looked into."""
        readers = [learners.of(_page(asked)) for learners in self.learners]
        thresholds = [model.threshold for model in self.models]
        return look_together(readers, asked, thresholds, self.weights)

    def learn(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Losses of an image and their gradients."""
        reader = self._chosen(asked).of(_page(asked))
        names = [str(name) for name in asked.get("losses") or [learning.USUAL]][:2]
        truth = str(asked.get("truth", ""))
        return learning.learn(reader, question_of(asked, reader), truth, names)

    def step(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Steps along a gradient."""
        page, learners = _page(asked), self._chosen(asked)
        return learners.step(page, question_of(asked, learners.of(page)), asked)

    def _chosen(self, asked: dict[str, Any]) -> learning.Learners:
        """Of several readers the one that is to learn."""
        which = asked.get("reader", 0)
        if not isinstance(which, int) or not 0 <= which < len(self.learners):
            raise ValueError(f"there is no reader {which!r}: there are {len(self.learners)}")
        return self.learners[which]

    def forget(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The page's readers as they were loaded."""
        for learners in self.learners:
            learners.forget(_page(asked))
        return {}

    def operands(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The recognition graph and the language, to be composed step by step."""
        reader = self._chosen(asked).of(_page(asked))
        return operands(reader, question_of(asked, reader))

    def sample(self, asked: dict[str, Any]) -> dict[str, Any]:
        """An image of the data set, with what it says."""
        if not self.data:
            raise ValueError("there is no data set: give one with --data")
        index = int(asked.get("index", 0)) % len(self.data)
        given, truth = self.data[index]
        return {"index": index, "truth": truth, **_paper(given)}

    def graphs(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Graphs before and after an operation."""
        return graphs.work(asked)

    def image(self, data: bytes) -> dict[str, Any]:
        """A file of an image."""
        return _paper(inputs.opened(data, "this file"))

    def graph(self, data: bytes) -> dict[str, Any]:
        """A file of a graph, as text."""
        text, form = graphs.text_of(data, "this file")
        return {"text": text, "form": form}


def _paper(given: Any) -> dict[str, Any]:
    image = inputs.reduced(given)
    return {"image": image_uri(image), "size": [image.shape[1], image.shape[0]]}


def _page(asked: dict[str, Any]) -> str:
    return str(asked.get("page", ""))[:64]


def application(
    models: Model | Sequence[Model],
    data: Any = None,
    *,
    token: str,
    weights: Sequence[float] = (),
) -> Guard:
    """The page about a reader, or several side by side, as an ASGI application behind its token.

    `data`: a data set whose images it offers, or None; `weights`: of several readers, as
    `gtnet.reader.Combined` has them. Addresses begin with `/token/`. Raises ValueError for readers
    of different characters.
    """
    desk = _Desk(side_by_side([models] if isinstance(models, Model) else models), weights, data)
    routes = [
        Route("/", partial(_file, "index.html")),
        *(Route(f"/{name}", partial(_file, name)) for name in _FILES),
        Route("/view.js", partial(_text, gtnet.GraphView.script(), "js")),
        Route("/view.css", partial(_text, gtnet.GraphView.style(), "css")),
        Route("/about", partial(_told, desk, desk.about)),
    ]
    for name in ("read", "learn", "step", "forget", "sample", "graphs", "operands"):
        routes.append(
            Route(f"/{name}", partial(_asked, desk, getattr(desk, name)), methods=["POST"])
        )
    for name in ("image", "graph"):
        routes.append(
            Route(f"/{name}", partial(_sent, desk, getattr(desk, name)), methods=["POST"])
        )
    return Guard(Starlette(routes=routes), token, LIMIT)


async def _file(name: str, request: Request) -> Response:
    text = files("gtnet.explore").joinpath("page", name).read_text("utf-8")
    return await _text(text, name.rpartition(".")[2], request)


async def _text(text: str, kind: str, request: Request) -> Response:
    return Response(text, media_type=_KINDS[kind])


async def _told(desk: _Desk, tell: Callable[[], Any], request: Request) -> Response:
    return JSONResponse(tell())


async def _asked(desk: _Desk, answer: Callable[[Any], Any], request: Request) -> Response:
    """An answer to JSON; a sentence where it cannot be given."""
    try:
        asked = json.loads(await request.body())
    except TooLongError as error:
        return _wrong(str(error), 413)
    except ValueError:
        return _wrong("this is not JSON")
    if not isinstance(asked, dict):
        return _wrong("this is not an object of JSON")
    return await _answered(desk, partial(answer, asked))


async def _sent(desk: _Desk, answer: Callable[[bytes], Any], request: Request) -> Response:
    """An answer to a file."""
    try:
        data = await request.body()
    except TooLongError as error:
        return _wrong(str(error), 413)
    return await _answered(desk, partial(answer, data))


async def _answered(desk: _Desk, answer: Callable[[], Any]) -> Response:
    def alone() -> Any:
        with desk.work:
            return answer()

    try:
        return JSONResponse(await to_thread.run_sync(alone))
    except (ValueError, TypeError) as error:
        return _wrong(_plain(error))
    except (MemoryError, gtnet.GraphvizMissingError) as error:
        return _wrong(str(error) or "there is not enough memory", 500)


def _wrong(told: str, status: int = 400) -> Response:
    return JSONResponse({"error": told[:1].upper() + told[1:]}, status)


def _plain(error: Exception) -> str:
    """What an error says, without the function that raised it."""
    head, colon, rest = str(error).partition(": ")
    return (
        rest
        if colon and head.replace("_", "").replace(".", "").isalpha() and " " not in head
        else str(error)
    )
