"""The commands `gtnet train`, `gtnet read` and `gtnet draw`."""

from __future__ import annotations

import argparse
import html
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

import gtnet
from gtnet import GraphvizMissingError
from gtnet.reader import figures, report, runs
from gtnet.reader.amounts import GRAMMARS
from gtnet.reader.checkpoint import load_reader
from gtnet.reader.data import read_image
from gtnet.reader.reader import PRESETS, Answer
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.segment import Segmentation

_ABOUT = """\
Read amounts on checks with a graph transformer network: train a reader, read images, and look
at the graphs.

  gtnet train --demo                     train a reader and write a report, in four minutes
  gtnet read amount.png --model runs/demo
  gtnet draw amount.png --model runs/demo --out amount.svg

See also: gtnet train --help, gtnet read --help, gtnet draw --help"""

_TRAIN = """\
Train a reader in two phases: first its network on isolated characters, then all of it on
amounts, by a loss on their graphs. Prints how much the second phase gained."""

_TRAIN_MORE = """\
data sets:
  digits   amounts synthesised from the handwritten digits that come with scikit-learn
  car_a    real bank-check amounts (ORAND-CAR-A) in the folder --root; one fold is the test
  folder   your own: --root holds images and labels.tsv with the columns file and amount
           (tab-separated); a tenth each becomes the validation and the test set; with --alphabet
           or --lexicon the labels are other strings, in the column text

examples:
  gtnet train --demo
  gtnet train --data digits --size 8000 --epochs 12 --out runs/digits
  gtnet train --data car_a --root car_a --test-fold 0 --out runs/car_a
  gtnet train --data folder --root my_amounts --grammar digit_string --out runs/mine
  gtnet train --data car_a --root car_a --front-end sliding --out runs/sliding
  gtnet train --data folder --root my_words --lexicon words.txt --front-end sliding
  gtnet train --resume --out runs/mine          (continues after an interruption)

files in the --out folder:
  model.safetensors       the reader; give the folder to gtnet read --model
  isolated.safetensors    the reader before global training
  config.json, data.json  what it was trained with
  history.json            loss and validation accuracy of each epoch
  results.json            test accuracy before and after, error reduction, rejection threshold
  report.html             all of this with pictures: open it in a browser
  learning.gif            how one image was read after every epoch
  checkpoint.safetensors  what --resume needs"""

_READ = """\
Read images of amounts. Prints for each the best amount, its confidence (its share of the total
score of all interpretations), and the next best amounts."""

_READ_MORE = """\
examples:
  gtnet read check.png --model runs/digits
  gtnet read *.png --model runs/digits --best 1 --min-confidence 0.9
  gtnet read check.png --model runs/digits --draw check.html    (the image, its cuts, its graphs)

An image is one line of dark writing on light paper, cropped to the amount. An answer below
--min-confidence is marked "rejected"; results.json in the training folder has the confidence
that keeps errors below 1%. Exit code: 0, or 2 if an image could not be opened."""

_DRAW = """\
Draw a graph: one that a reader makes of an image, or one in a text file."""

_DRAW_MORE = """\
examples:
  gtnet draw check.png --model runs/digits --out check.svg
  gtnet draw check.png --model runs/digits --graph segmentation --out cuts.svg
  gtnet draw lexicon.fst.txt --out lexicon.svg

graphs of an image:
  segmentation    circles are cuts, arrows are pieces of the image that might be one character
  recognition     the same, with what each piece might be
  interpretation  what the grammar of amounts allows; the best path is blue (the default)

A text file holds one arc a line, "source target ilabel [olabel [cost]]", and one final state a
line, "state [cost]", as OpenFst prints them: label 0 reads nothing, scores are minus costs, the
first state named is the start. --out ends in .svg, .png or .dot; SVG and PNG need Graphviz."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 2 after an error message, 130 if interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, GraphvizMissingError) as error:
        print(f"gtnet {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = "; continue with gtnet train --resume" if options.command == "train" else ""
        print(f"gtnet {options.command}: interrupted{again}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "gtnet", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"gtnet {gtnet.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _train_parser(commands)
    _read_parser(commands)
    _draw_parser(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction,
    name: str,
    about: str,
    more: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=about.partition("\n")[0],
        description=about,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _train_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "train", _TRAIN, _TRAIN_MORE, _train)
    add = parser.add_argument
    add("--demo", action="store_true", help="a small run on digits with a report, in runs/demo")
    add("--data", choices=("digits", "car_a", "folder"), help="data set (default: digits)")
    add("--root", metavar="DIR", help="where car_a or your folder is")
    add(
        "--grammar",
        choices=sorted(GRAMMARS),
        help="what a folder's amounts look like: 1234.50"
        " (amount, the default) or 123450 (digit_string)",
    )
    add("--front-end", choices=sorted(PRESETS), help="from image to graph (default: segments)")
    add(
        "--valid",
        type=int,
        metavar="N",
        help="car_a: images kept from training to fit confidences on (default: 0; sliding: 80)",
    )
    add(
        "--corrected",
        action="store_true",
        default=None,
        help="car_a: train with the labels of corrections.tsv",
    )
    add("--alphabet", metavar="CHARS", help="folder: the characters of labels that are no amounts")
    add("--lexicon", metavar="FILE", help="folder: the words that labels may be, one a line")
    add(
        "--more-digits",
        nargs="+",
        metavar="PATH",
        help="sliding, digit strings: other digits to make strings from, each a folder in MNIST's"
        " format or a .npz file of pen strokes",
    )
    add("--test-fold", type=int, metavar="N", help="car_a: the fold to test on (default: 0)")
    add("--size", type=int, metavar="N", help="digits: amounts to train on")
    add("--isolated-epochs", type=int, metavar="N", help="epochs of the first phase")
    add("--epochs", type=int, metavar="N", help="epochs of the second phase")
    add(
        "--loss",
        metavar="NAME",
        help="loss of the second phase (default: discriminative_forward); one of "
        + ", ".join(sorted(gtnet.losses.LOSSES)),
    )
    add(
        "--from",
        dest="start",
        metavar="DIR",
        help="begin with the weights of a trained reader, in place of the first phase",
    )
    add("--seed", type=int, metavar="N", help="same seed, same reader (default: 0)")
    add("--out", metavar="DIR", help="folder for all results (default: runs/ and the data's name)")
    add("--resume", action="store_true", help="continue the interrupted run in --out")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")


def _read_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "read", _READ, _READ_MORE, _read)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE")
    add(
        "--model", default="runs/demo", metavar="DIR", help="a training folder (default: runs/demo)"
    )
    add("--best", type=int, default=3, metavar="K", help="answers to show (default: 3)")
    add("--min-confidence", type=float, default=0.0, metavar="P", help="reject answers below it")
    add(
        "--draw",
        metavar="FILE",
        help="picture of the interpretation graph (.svg, .png, .dot), or a"
        " page with the image and all its graphs (.html); several images get numbered files",
    )


def _draw_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "draw", _DRAW, _DRAW_MORE, _draw)
    add = parser.add_argument
    add("file", metavar="FILE", help="an image of an amount, or a graph in text form")
    add(
        "--graph",
        choices=("segmentation", "recognition", "interpretation"),
        default="interpretation",
        help="which graph of an image (default: interpretation)",
    )
    add(
        "--model", default="runs/demo", metavar="DIR", help="a training folder (default: runs/demo)"
    )
    add("--out", metavar="FILE", help="picture to write (default: FILE with .svg)")


_SETTINGS = (
    "data",
    "root",
    "grammar",
    "front_end",
    "valid",
    "corrected",
    "more_digits",
    "alphabet",
    "lexicon",
    "start",
    "test_fold",
    "size",
    "isolated_epochs",
    "epochs",
    "loss",
    "seed",
)
"""The options a run is started with; --resume reads them from the folder of the run."""


def _train(options: argparse.Namespace) -> int:
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    settings = {name: getattr(options, name) for name in _SETTINGS}
    settings = {name: value for name, value in settings.items() if value is not None}
    if "more_digits" in settings:
        settings["more_digits"] = tuple(settings["more_digits"])
    if options.resume:
        if settings or options.demo:
            raise ValueError(
                "--resume keeps the settings of the interrupted run: give nothing but --out"
            )
        run = runs.Run.load(options.out or "runs/demo")
    else:
        run = runs.Run.start(options.out, demo=options.demo, **settings)
    print(run.train(resume=options.resume).table())
    print(f"\nthe reader and its report are in {run.out}: open {run.out / runs.REPORT}")
    print(f"next: gtnet read IMAGE --model {run.out}")
    return 0


def _read(options: argparse.Namespace) -> int:
    reader = load_reader(options.model)
    code = 0
    for number, name in enumerate(options.images):
        try:
            image = read_image(name)
        except ValueError as error:
            print(f"gtnet read: {error}", file=sys.stderr)
            code = 2
            continue
        (answer,) = reader.read([image])
        print("\n".join(_told(name, answer, options.best, options.min_confidence)))
        if options.draw:
            path = _numbered(Path(options.draw), number, len(options.images))
            _picture(reader, image, path, "interpretation", name)
            print(f"    drawn in {path}")
    return code


def _told(name: str, answer: Answer, best: int, least: float) -> list[str]:
    """What is printed about one image."""
    if answer.amount is None:
        return [f"{name}: {answer.reason}"]
    verdict = "" if answer.confidence >= least else ", rejected"
    lines = [f"{name}: {answer.amount}  (confidence {answer.confidence:.3f}{verdict})"]
    others = answer.alternatives[: max(0, best - 1)]
    return lines + [f"    or {amount}  ({confidence:.3f})" for amount, confidence in others]


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}-{number + 1}{path.suffix}")


def _draw(options: argparse.Namespace) -> int:
    path = Path(options.out or Path(options.file).with_suffix(".svg").name)
    graph = _text_graph(Path(options.file))
    if graph is not None:
        gtnet.draw(graph, path)
    else:
        image = read_image(options.file)
        _picture(load_reader(options.model), image, path, options.graph, options.file)
    print(f"drawn in {path}")
    return 0


def _picture(reader: Recognizer, image: np.ndarray, path: Path, which: str, name: str) -> None:
    """Draw one graph of an image, or with `.html` a page with the image and all of them."""
    (seen,) = reader.observe([image])
    if not len(seen):
        raise ValueError(f"{name}: no reading: nothing drawn, so there is no graph")
    if which != "interpretation" and not isinstance(seen, Segmentation):
        raise ValueError(
            f"this reader looks at frames, not at segments: it has no {which} graph to draw; its"
            " interpretation graph holds the likely paths through the frames"
        )
    if which == "segmentation":
        crops = dict(enumerate(report.segment_images(image, seen)))
        gtnet.draw(seen.graph(), path, images=crops, max_arcs=1000)
        return
    view = report.look(reader, image, seen)
    if path.suffix == ".html":
        page = _page(image, getattr(seen, "cuts", None), view, name, reader.alphabet.symbols)
        path.write_text(page, encoding="utf-8")
        return
    graph, pictures = (
        (view.recognition, view.recognition_images)
        if which == "recognition"
        else (view.interpretation, view.interpretation_images)
    )
    assert graph is not None
    gtnet.draw(
        graph,
        path,
        isymbols=reader.alphabet.symbols,
        osymbols=reader.alphabet.symbols,
        images=pictures,
        highlight="best",
        posteriors=True,
        min_posterior=0.01,
        max_labels=3,
        max_arcs=1000,
    )


def _page(
    image: np.ndarray,
    cuts: np.ndarray | None,
    view: report.View,
    name: str,
    symbols: Sequence[str],
) -> str:
    """One image with its cuts, its answer and its graphs, as one self-contained page."""
    graphs = [
        f"<h2>{title}</h2>{figures.graph_svg(graph, pictures, labels, symbols)}"
        for title, graph, pictures, labels in (
            ("Recognition graph", view.recognition, view.recognition_images, 2),
            ("Interpretation graph", view.interpretation, view.interpretation_images, 4),
        )
        if graph is not None
    ]
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(name)}</title>"
        f'<body style="font-family: sans-serif; margin: 2rem">'
        f"<h1>{html.escape(view.answer or 'no reading')}</h1>"
        f"<p>{html.escape(name)}, confidence {view.confidence:.3f}</p>"
        f'<img src="{figures.image_with_cuts(image, cuts)}" alt="">{"".join(graphs)}'
    )


def _text_graph(path: Path) -> gtnet.Graph | None:
    """The graph of a text file in OpenFst's form; None if the file is not text.

    Raises ValueError naming the line that is neither an arc nor a final state.
    """
    if path.suffix.lower() not in (".txt", ".fst", ".att"):
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a graph in text form: {error}") from error
    arcs: list[tuple[int, int, int, int, float]] = []
    accept: dict[int, float] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        try:
            if len(fields) in (1, 2):
                accept[int(fields[0])] = -float(fields[1]) if len(fields) == 2 else 0.0
            elif fields:
                source, target, ilabel = (int(field) for field in fields[:3])
                olabel = int(fields[3]) if len(fields) > 3 else ilabel
                cost = float(fields[4]) if len(fields) > 4 else 0.0
                arcs.append((source, target, ilabel or -1, olabel or -1, -cost))
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: {line!r} is neither an arc (source target ilabel"
                " [olabel [cost]], all numbers) nor a final state (state [cost])"
            ) from None
    if not arcs or not accept:
        raise ValueError(f"{path} holds {len(arcs)} arcs and {len(accept)} final states")
    sources, targets, ilabels, olabels, scores = zip(*arcs, strict=True)
    weights = torch.tensor(scores)
    return gtnet.Graph(sources, targets, ilabels, olabels, weights, start=sources[0], accept=accept)


if __name__ == "__main__":
    sys.exit(main())
