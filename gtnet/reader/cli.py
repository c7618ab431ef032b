"""The commands `gtnet train`, `gtnet check`, `gtnet read` and `gtnet draw`."""

from __future__ import annotations

import argparse
import html
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from tqdm import tqdm

import gtnet
from gtnet import GraphvizMissingError
from gtnet.reader import figures, report, runs
from gtnet.reader.amounts import GRAMMARS
from gtnet.reader.checkpoint import load_reader
from gtnet.reader.doubts import Doubt, doubts, least_likely
from gtnet.reader.folder import LABELS
from gtnet.reader.inputs import picture, read_input, wrong_kind
from gtnet.reader.labelling import corrections_page, label_folder
from gtnet.reader.reader import PRESETS
from gtnet.reader.reading import FORMATS, Record, Teller, printable, records
from gtnet.reader.recognizer import Recognizer

_ABOUT = """\
Read amounts on checks with a graph transformer network: train a reader, read images, and look
at the graphs.

  gtnet train --demo                     train a reader and write a report, in four minutes
  gtnet read runs/demo/samples/*.png     read images with it
  gtnet draw runs/demo/samples/1.png --out amount.svg

With images of your own:

  gtnet label my_amounts                 a page in the browser to type their labels on
  gtnet check my_amounts                 look for mistakes in images and labels
  gtnet train --data folder --root my_amounts --out runs/mine
  gtnet doubts runs/mine                 a page of labels that the reader doubts

Each command has a --help of its own."""

_TRAIN = """\
Train a reader in two phases: first its network on isolated characters, then all of it on
amounts, by a loss on their graphs. Prints how much the second phase gained."""

_TRAIN_MORE = """\
data sets:
  digits   amounts synthesised from the handwritten digits that come with scikit-learn
  car_a    real bank-check amounts (ORAND-CAR-A) in the folder --root; one fold is the test
  folder   your own: --root holds images and labels.tsv (or .csv) with the columns file and
           amount; a tenth each becomes the validation and the test set; with --alphabet or
           --lexicon the labels are other strings, in the column text; files may be sound or
           strokes (--front-end), and --root one .npz of strokes; a column writer or speaker
           keeps the parts from sharing one

examples:
  gtnet train --demo
  gtnet train --data digits --size 8000 --epochs 12 --out runs/digits
  gtnet train --data car_a --root car_a --test-fold 0 --out runs/car_a
  gtnet train --data folder --root my_amounts --grammar digit_string --out runs/mine
  gtnet train --data folder --root my_amounts --check        (looks at the data, trains nothing)
  gtnet train --data car_a --root car_a --front-end sliding --out runs/sliding
  gtnet train --data folder --root my_words --lexicon words.txt --front-end sliding
  gtnet train --data folder --root my_words --lexicon words.txt --front-end segmental
  gtnet train --data folder --root words.npz --lexicon words.txt --front-end strokes
  gtnet train --data folder --root my_sounds --alphabet 0123456789 --front-end sound
  gtnet train --resume --out runs/mine          (continues after an interruption)

files in the --out folder:
  model.safetensors       the reader; give the folder to gtnet read --model
  isolated.safetensors    the reader before global training
  config.json, data.json  what it was trained with
  history.json            loss and validation accuracy of each epoch
  results.json            test accuracy before and after, error reduction, rejection threshold
  report.html             all of this with pictures: open it in a browser
  learning.gif            how one image was read after every epoch
  samples/                a few test images of digits, to try gtnet read
  checkpoint.safetensors  what --resume needs

exit codes: 0; 2 after an error; 130 if interrupted"""

_CHECK = """\
Look at images and labels of your own before training: every image is opened, every label tried
against the grammar."""

_CHECK_MORE = """\
examples:
  gtnet check my_amounts
  gtnet check my_amounts --grammar digit_string
  gtnet check my_words --lexicon words.txt

Names every faulty row with its file, line and reason: labels outside the grammar, missing and
unreadable images, one image under two labels. Says what is there twice, what is blank, and which
labels are taken otherwise than they are written. Exit code: 0, or 2 where something is wrong."""

_LABEL = """\
Write a page to label images on: open it in a browser, type what each image says, and save the
table of labels into the folder."""

_LABEL_MORE = """\
examples:
  gtnet label my_amounts                 (writes my_amounts/label.html)

The page needs no network and no server, and keeps in the browser what you typed. Labels that the
folder has already are filled in. Pages of TIFF and PDF files are labelled one by one."""

_DOUBTS = """\
Find labels that may be wrong: the items whose labels a trained reader finds least likely, as a
page of pictures on which they can be corrected."""

_DOUBTS_MORE = """\
examples:
  gtnet doubts runs/mine                                 (writes runs/mine/doubts.html)
  gtnet doubts runs/fold* --part test --out doubts.html  (each fold by the reader that left it out)

The page saves corrections.tsv; put it beside labels.tsv, and train again. A reader that has learnt
a wrong label by heart no longer doubts it: the parts that it did not learn from show more."""

_READ = """\
Read images of amounts. Prints for each the best amount, its confidence and the next best ones.
Confidence is the share of an answer in the total score of all interpretations; it is lowered
where ink remains that no answer explains."""

_READ_MORE = """\
examples:
  gtnet read check.png --model runs/digits
  gtnet read *.png --model runs/digits --best 1 --min-confidence 0.9
  gtnet read scans/*.tif letter.pdf --csv > amounts.csv
  gtnet read check.png --model runs/digits --draw check.html    (the image, its cuts, its graphs)

An image is one line of writing, cropped to the amount. Pages of TIFF and PDF files are read one
by one and named scan.tif#1, scan.tif#2. An answer below --min-confidence is marked "rejected";
results.json in the training folder has the confidence that keeps errors below 1%.

--json prints one list, --jsonl an object a line, --csv a table. Each has the file, the text
(null or empty for no reading), the confidence, the verdict ("accepted", "rejected",
"no reading", "unreadable"), the reason where there is no text, and the alternatives.

exit codes: 0 if every file could be opened, whatever is read in it; 2 if one could not, or after
another error; 130 if interrupted; 141 if what the output goes to was closed"""

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
first state named is the start. --out ends in .svg, .png, .pdf or .dot; all but .dot need
Graphviz."""

MODELS = ("runs/demo", "demo")
"""Where a model is looked for when none is named: gtnet train --demo, and make demo."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 2 after an error message, 130 if interrupted.

    141, as for other programs, if what standard output goes to was closed, by `head` for example.
    """
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        return 128 + signal.SIGPIPE
    except (ValueError, OSError, GraphvizMissingError) as error:
        print(f"gtnet {options.command}: {_plain(error)}", file=sys.stderr)
        return 2
    except MemoryError:
        print(f"gtnet {options.command}: there is not enough memory", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"gtnet {options.command}: interrupted{_after(interrupt)}", file=sys.stderr)
        return 130


def _after(interrupt: KeyboardInterrupt) -> str:
    return f"; {interrupt}" if str(interrupt) else ""


def _plain(error: BaseException) -> str:
    """The message of an error, without the function of the library that raised it."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    head, colon, rest = str(error).partition(": ")
    internal = {
        name
        for module in list(sys.modules)
        if module.startswith("gtnet")
        for name in vars(sys.modules[module])
    }
    return rest if colon and (head in internal or head == "resume") else str(error)


def _program() -> str:
    """The command by which this program was started, for messages that name a next one."""
    called = Path(sys.argv[0])
    if called.name != "gtnet":
        return "gtnet"
    found = shutil.which("gtnet")
    same = found is not None and Path(found).resolve() == called.resolve()
    return "gtnet" if same else shlex.quote(sys.argv[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "gtnet", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"gtnet {gtnet.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _train_parser(commands)
    _check_parser(commands)
    _label_parser(commands)
    _doubts_parser(commands)
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
        help=about.partition(":")[0].partition(". ")[0].replace("\n", " ").rstrip("."),
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
    add(
        "--front-end",
        choices=sorted(PRESETS),
        help="from image to graph (default: segments, cut by rules; segmental learns where to cut;"
        " strokes and sound read a folder of those)",
    )
    add(
        "--valid",
        type=int,
        metavar="N",
        help="car_a: images kept from training to fit confidences on (default: 0; over lines: 80)",
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
        help="sliding, segmental, digit strings: other digits to make strings from, each a folder in"
        " MNIST's format or a .npz file of pen strokes",
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
    add("--overwrite", action="store_true", help="replace the training that --out holds")
    add("--check", action="store_true", help="look at the data only, and train nothing")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")


def _check_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "check", _CHECK, _CHECK_MORE, _check)
    add = parser.add_argument
    add("root", metavar="DIR", help="folder with images and labels.tsv")
    add("--grammar", choices=sorted(GRAMMARS), help="of amounts (default: amount)")
    add("--front-end", choices=sorted(PRESETS), help="what will read them (default: segments)")
    add("--alphabet", metavar="CHARS", help="the characters of labels that are no amounts")
    add("--lexicon", metavar="FILE", help="the words that labels may be, one a line")


def _label_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "label", _LABEL, _LABEL_MORE, _label)
    parser.add_argument("root", metavar="DIR", help="folder with images")
    parser.add_argument("--out", metavar="FILE", help="page to write (default: DIR/label.html)")


def _doubts_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "doubts", _DOUBTS, _DOUBTS_MORE, _doubts)
    add = parser.add_argument
    add("models", nargs="+", metavar="DIR", help="training folder, with its data as they were")
    add(
        "--part",
        choices=("all", "train", "valid", "test"),
        default="all",
        help="part of the data (default: all)",
    )
    add("--count", type=int, default=40, metavar="N", help="labels to show (default: 40)")
    add("--out", metavar="FILE", help="page to write (default: doubts.html in the first DIR)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")


def _read_parser(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "read", _READ, _READ_MORE, _read)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE")
    add("--model", metavar="DIR", help=f"a training folder (default: {' or '.join(MODELS)})")
    add(
        "--best",
        type=int,
        metavar="N",
        help="answers to show (default: 3, without very unlikely ones)",
    )
    add("--min-confidence", type=float, default=0.0, metavar="P", help="reject answers below it")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
    kinds = parser.add_mutually_exclusive_group()
    for kind in FORMATS[1:]:
        kinds.add_argument(
            f"--{kind}", dest="kind", action="store_const", const=kind, help=f"print {kind}"
        )
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
    add("--model", metavar="DIR", help=f"a training folder (default: {' or '.join(MODELS)})")
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
    _set_threads(options)
    settings = {name: getattr(options, name) for name in _SETTINGS}
    settings = {name: value for name, value in settings.items() if value is not None}
    if "more_digits" in settings:
        settings["more_digits"] = tuple(settings["more_digits"])
    if options.resume:
        if settings or options.demo or options.overwrite:
            raise ValueError(
                "--resume keeps the settings of the interrupted run: give nothing but --out"
            )
        run = runs.Run.load(options.out or "runs/demo")
    else:
        run = runs.Run.start(options.out, demo=options.demo, **settings)
    if options.check:
        print(run.check())
        return 0
    try:
        print(run.train(resume=options.resume, overwrite=options.overwrite).table())
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_continue(run)) from None
    print(f"\nthe reader and its report are in {run.out}: open {run.out / runs.REPORT}")
    samples = run.out / runs.SAMPLES
    images = f"{shlex.quote(str(samples))}/*.png" if samples.is_dir() else "IMAGE"
    print(f"next: {_program()} read {images} --model {shlex.quote(str(run.out))}")
    return 0


def _how_to_continue(run: runs.Run) -> str:
    if not (run.out / runs.DATA).is_file():
        return "nothing was learnt yet: give the same command again"
    return f"continue with {_program()} train --resume --out {shlex.quote(str(run.out))}"


def _check(options: argparse.Namespace) -> int:
    names = ("grammar", "alphabet", "lexicon", "front_end")
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    print(runs.Run.start(data="folder", root=options.root, **given).check())
    return 0


def _label(options: argparse.Namespace) -> int:
    root = Path(options.root)
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}")
    path = Path(options.out or root / "label.html")
    _check_picture(path, (".html",))
    count, errors = label_folder(root, path)
    for error in errors:
        print(f"gtnet label: {_plain(ValueError(error))}", file=sys.stderr)
    print(
        f"{count} images to label in {path}: open it in a browser, then save {LABELS[0]} in {root}"
    )
    return 2 if errors else 0


def _doubts(options: argparse.Namespace) -> int:
    _set_threads(options)
    if options.count < 1:
        raise ValueError(f"--count must be at least 1, got {options.count}")
    path = Path(options.out or Path(options.models[0]) / "doubts.html")
    _check_picture(path, (".html",))
    found: list[Doubt] = []
    for name in options.models:
        reader, run = load_reader(name), runs.Run.load(name)
        for part in run.parts(options.part):
            found = least_likely([*found, *doubts(reader, part, options.count)], options.count)
    corrections_page(path, [doubt.card for doubt in found], run.data.name, run.data.root)
    for doubt in found[:10]:
        answer = "nothing" if doubt.answer.amount is None else doubt.answer.amount
        print(f"{printable(doubt.file)}: labelled {doubt.text}, read as {answer}")
    print(f"{len(found)} labels are in {path}: open it in a browser to correct them")
    return 0


def _set_threads(options: argparse.Namespace) -> None:
    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"--threads must be at least 1, got {options.threads}")
        torch.set_num_threads(options.threads)


def _model(options: argparse.Namespace) -> Recognizer:
    """The reader that was asked for, or the one of the demo."""
    if options.model is not None:
        return load_reader(options.model)
    found = [name for name in MODELS if Path(name).is_dir()]
    if not found:
        raise ValueError(
            f"no trained reader at {' or '.join(MODELS)}: make one with {_program()} train --demo,"
            " or name another with --model"
        )
    return load_reader(found[0])


def _read(options: argparse.Namespace) -> int:
    _set_threads(options)
    if options.best is not None and options.best < 1:
        raise ValueError(f"--best must be at least 1, got {options.best}")
    if not 0 <= options.min_confidence <= 1:
        raise ValueError(f"--min-confidence must be in [0, 1], got {options.min_confidence}")
    if options.draw:
        _check_picture(Path(options.draw), (".html", *_PICTURES))
    reader, code, kind = _model(options), 0, options.kind or "text"
    found = records(reader, _shown(options.images), best=options.best or 0)
    with Teller(kind, options.best or 3, options.min_confidence) as teller:
        for number, record in enumerate(found):
            if record.answer is None:
                print(f"gtnet read: {printable(_plain(ValueError(record.error)))}", file=sys.stderr)
                code = 2
            teller.tell(record)
            if options.draw and record.image is not None:
                alone = options.images == [record.file]
                path = _numbered(Path(options.draw), number, 1 if alone else 2)
                code = max(code, _drawn(reader, record, path, sys.stderr if options.kind else None))
    return code


def _shown(names: list[str]) -> Iterator[str]:
    """The names, with a bar on standard error where somebody looks at it and it is not soon over.

    None where the answers go to the same terminal: they show how far it is.
    """
    busy = len(names) > 100 and sys.stderr.isatty() and not sys.stdout.isatty()
    yield from tqdm(names, "reading", unit="file", disable=not busy)


_PICTURES = (".svg", ".png", ".pdf", ".dot", ".gv")


def _check_picture(path: Path, kinds: Sequence[str]) -> None:
    """Raises ValueError for a picture that could not be written, before any work."""
    if path.suffix.lower() not in kinds:
        raise ValueError(f"{path} should end in {', '.join(kinds)}")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} to write {path.name} to")


def _drawn(reader: Recognizer, record: Record, path: Path, stream: TextIO | None) -> int:
    """Draw an image that was read; 2 after an error, which concerns no other image."""
    assert record.image is not None
    try:
        _picture(reader, record.image, path, "interpretation", record.file)
    except ValueError as error:
        print(f"gtnet read: {_plain(error)}", file=sys.stderr)
        return 2 if record.answer is not None and record.answer.amount is not None else 0
    print(f"    drawn in {path}", file=stream)
    return 0


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}-{number + 1}{path.suffix}")


def _draw(options: argparse.Namespace) -> int:
    path = Path(options.out or Path(options.file).with_suffix(".svg").name)
    _check_picture(path, (".html", *_PICTURES))
    graph = _text_graph(Path(options.file))
    if graph is not None:
        gtnet.draw(graph, path)
    else:
        reader = _model(options)
        wrong = wrong_kind(options.file, reader.front_end.name)
        if wrong:
            raise ValueError(f"{options.file} is {wrong}")
        _picture(reader, read_input(options.file), path, options.graph, options.file)
    print(f"drawn in {path}")
    return 0


def _picture(reader: Recognizer, given: Any, path: Path, which: str, name: str) -> None:
    """Draw one graph of an input, or with `.html` a page with its picture and all of them."""
    (seen,) = reader.observe([given])
    image = picture(given)
    if not len(seen):
        raise ValueError(f"{name}: no reading: nothing drawn, so there is no graph")
    segments = report.look_at_segments(reader, image, seen) if which != "interpretation" else None
    if which != "interpretation" and segments is None:
        raise ValueError(
            f"this reader looks at frames, not at segments: it has no {which} graph to draw; its"
            " interpretation graph holds the likely paths through the frames"
        )
    if which == "segmentation":
        assert segments is not None
        gtnet.draw(segments[0], path, images=segments[1], max_arcs=1000)
        return
    view = report.look(reader, image, seen)
    if path.suffix == ".html":
        page = _page(image, report.cuts_of(reader, seen), view, name, reader.alphabet.symbols)
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
