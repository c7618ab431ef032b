"""gtnet train."""

from __future__ import annotations

import argparse

from gtnet_command.common import new_command
from gtnet_command.names import FRONT_ENDS, GRAMMARS, LOSSES, METHODS, PRECISIONS

_ABOUT = """\
Train a reader in two phases: first its network on isolated characters, then all of it on
amounts, by a loss on their graphs. Prints how much the second phase gained."""

_MORE = """\
data sets:
  digits   amounts synthesised from the handwritten digits that come with scikit-learn
  car_a    real bank-check amounts (ORAND-CAR-A) in the folder --root; one fold is the test
  folder   your own: --root holds images and labels.tsv (or .csv) with the columns file and
           amount; a tenth each becomes the validation and the test set; with --alphabet or
           --lexicon the labels are other strings, in the column text; files may be sound or
           strokes (--front-end), and --root one .npz of strokes; a column writer or speaker
           keeps the parts from sharing one
  shards   more than memory holds: --root holds tar files (17.png beside 17.txt, as webdataset
           writes them) or Parquet files (columns of images and texts, as Hugging Face writes
           them); shards whose names begin with valid and test are for that, or the last two

examples:
  gtnet train --demo
  gtnet train --data digits --size 8000 --epochs 12 --out runs/digits
  gtnet train --data car_a --root car_a --test-fold 0 --out runs/car_a
  gtnet train --data folder --root my_amounts --grammar digit_string --out runs/mine
  gtnet train --data folder --root my_amounts --pretrain psd (ink first, then labels)
  gtnet train --data folder --root my_amounts --unlabelled more --teacher runs/a --out runs/b
  gtnet train --data folder --root my_amounts --check        (looks at the data, trains nothing)
  gtnet train --data car_a --root car_a --front-end sliding --out runs/sliding
  gtnet train --data folder --root my_words --lexicon words.txt --front-end sliding
  gtnet train --data folder --root my_words --lexicon words.txt --front-end segmental
  gtnet train --data folder --root words.npz --lexicon words.txt --front-end strokes
  gtnet train --data folder --root my_sounds --alphabet 0123456789 --front-end sound
  gtnet train --data shards --root shards --workers 2 --parts 10 --out runs/mine
  gtnet train --resume --out runs/mine          (continues after an interruption)
  torchrun --nproc-per-node 4 -m gtnet.reader train --data digits    (in four processes)

Under torchrun the processes share every batch, and give what one process gives with the same
number of --micro-batches. With --max-restarts torchrun starts them again after a failure, and they
continue from the last epoch.

files in the --out folder:
  model.safetensors       the reader; give the folder to gtnet read --model
  isolated.safetensors    the reader before global training
  config.json, data.json  what it was trained with
  history.json            loss and validation accuracy of each epoch
  results.json            test accuracy before and after, error reduction, rejection threshold
  MODEL_CARD.md           what the reader is made of, what it can do, what it is not for
  report.html             all of this with pictures: open it in a browser
  learning.gif            how one image was read after every epoch
  samples/                a few test images of digits, to try gtnet read
  checkpoint.safetensors  what --resume needs

exit codes: 0; 2 after an error; 130 if interrupted"""


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command and its options."""
    parser = new_command(commands, "train", _ABOUT, _MORE)
    add = parser.add_argument
    add("--demo", action="store_true", help="a small run on digits with a report, in runs/demo")
    add(
        "--data", choices=("digits", "car_a", "folder", "shards"), help="data set (default: digits)"
    )
    add("--root", metavar="DIR", help="where car_a or your folder is")
    add(
        "--grammar",
        choices=GRAMMARS,
        help="what a folder's amounts look like: 1234.50"
        " (amount, the default) or 123450 (digit_string)",
    )
    add(
        "--front-end",
        choices=FRONT_ENDS,
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
        help="sliding, segmental, digit strings: other digits to make strings from, each a folder"
        " in MNIST's format or a .npz file of pen strokes",
    )
    add("--test-fold", type=int, metavar="N", help="car_a: the fold to test on (default: 0)")
    add("--size", type=int, metavar="N", help="digits: amounts to train on")
    add("--isolated-epochs", type=int, metavar="N", help="epochs of the first phase")
    add("--epochs", type=int, metavar="N", help="epochs of the second phase")
    add(
        "--loss",
        metavar="NAME",
        help="loss of the second phase (default: discriminative_forward); one of "
        + ", ".join(LOSSES),
    )
    add(
        "--from",
        dest="start",
        metavar="DIR",
        help="begin with the weights of a trained reader, in place of the first phase",
    )
    add(
        "--pretrain",
        choices=METHODS,
        help="what the network learns first from the ink of the training images, without their"
        " labels: sparse codes (psd), noisy ones (vae), or nothing (none, the default)",
    )
    add(
        "--unlabelled",
        nargs="+",
        metavar="PATH",
        help="folder, car_a: files and folders that nobody labelled, for --teacher or --pretrain",
    )
    add(
        "--teacher",
        metavar="DIR",
        help="a trained reader whose sure answers to --unlabelled are labels too",
    )
    add(
        "--sure",
        type=float,
        metavar="P",
        help="least confidence of its answers that are labels (default: 0.9)",
    )
    add(
        "--micro-batches",
        type=int,
        metavar="N",
        help="add up the gradients of so many parts of every batch: less memory, or the share of as"
        " many processes (default: 1, under torchrun the number of processes)",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes that read and observe images ahead, for each that trains (default: 0;"
        " car_a, shards: 1)",
    )
    add(
        "--parts",
        type=int,
        metavar="N",
        help="shards: an epoch, after which there is a checkpoint, is one of N parts of them"
        " (default: 1)",
    )
    add("--clip", type=float, metavar="NORM", help="greatest norm of a gradient (default: 5)")
    add(
        "--precision",
        choices=PRECISIONS,
        help="what the network computes in (default: float32); losses are float32 always",
    )
    add(
        "--compile",
        nargs="?",
        const="inductor",
        metavar="BACKEND",
        help="compile the network for training by torch.compile (default backend: inductor)",
    )
    add("--seed", type=int, metavar="N", help="same seed, same reader (default: 0)")
    add("--out", metavar="DIR", help="folder for all results (default: runs/ and the data's name)")
    add("--resume", action="store_true", help="continue the interrupted run in --out")
    add("--overwrite", action="store_true", help="replace the training that --out holds")
    add("--check", action="store_true", help="look at the data only, and train nothing")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
