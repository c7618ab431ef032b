"""What nobody labelled: its ink, and the answers of a trained reader where that is sure of them.

Self-training (Scudder 1965; Lee 2013): what a reader that learnt from few labels reads surely is
taken as a label, and a reader that learns from both begins anew. On energies it is the
minimum over the latent answer of what has none, at the reader's own interpretation graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tqdm import tqdm

from gtnet.reader.bulk.items import Item, as_file, listed
from gtnet.reader.check import few
from gtnet.reader.data import Dataset, text_of
from gtnet.reader.inputs import digest, is_empty, read_input, read_inputs, wrong_kind
from gtnet.reader.recognizer import Recognizer

SURE = 0.9
"""The least confidence at which an answer is taken as a label."""

_AT_ONCE = 64


class Unlabelled(Sequence[Any]):
    """Images, pen strokes or sounds of files without labels: a sequence that opens each when asked.

    Arguments: `inputs`, files and folders (with all in them), tar shards and Parquet files;
    `front_end`, the name of what shall read them; `known`, digests (`inputs.digest`) of what is
    labelled already and left out here. Where nothing is drawn, and what is there twice, is left
    out.
    Attributes: `notes`, what a person should know: files that could not be read, how many were left
    out; `fingerprint`, of all that is kept. Raises ValueError where nothing is left. Complexity:
    every file is opened once; memory of its names.
    """

    def __init__(
        self,
        inputs: Iterable[str],
        front_end: str = "segments",
        known: Iterable[str] = (),
        *,
        quiet: bool = True,
    ) -> None:
        self.inputs = list(inputs)
        self._places: list[tuple[Item, str]] = []  # and the page or sample, "#2"
        broken: list[str] = []
        left, seen, kept = 0, set(known), hashlib.sha256()
        items = tqdm(listed(self.inputs), "unlabelled", disable=quiet or None, leave=False)
        for item in items:
            try:
                wrong = wrong_kind(item.name, front_end)
                if wrong:
                    raise ValueError(f"{item.name} is {wrong}")
                with as_file(item) as path:
                    for name, given in read_inputs(path):
                        number = digest(given)
                        if number in seen or is_empty(given):
                            left += 1
                            continue
                        seen.add(number)
                        kept.update(number.encode())
                        self._places.append((item, name.removeprefix(path)))
            except ValueError as error:
                broken.append(str(error))
        self.fingerprint = kept.hexdigest()
        self.notes = few("unlabelled, not read:", broken)
        if left:
            self.notes.append(f"unlabelled: {left} empty, there twice or labelled, left out")
        if not self._places:
            raise ValueError(
                f"unlabelled: nothing to learn from in {', '.join(self.inputs)}"
                + "".join(f"\n  {note}" for note in self.notes)
            )

    def __len__(self) -> int:
        """Number of images, samples or sounds."""
        return len(self._places)

    def __getitem__(self, index: int) -> Any:  # type: ignore[override]  # no slices
        """One of them, as a front end takes it."""
        item, part = self._places[index]
        with as_file(item) as path:
            return read_input(path + part)


class Taught:
    """A data set, and after it unlabelled images with the answers of a teacher as their labels.

    `chosen` and `texts`: which of the images have one, and what it says.
    """

    def __init__(
        self, data: Dataset, images: Sequence[Any], chosen: Sequence[int], texts: Sequence[str]
    ) -> None:
        self.data, self.images, self.grammar = data, images, data.grammar
        self.chosen, self.texts = list(chosen), list(texts)

    def __len__(self) -> int:
        """Number of images with a label."""
        return len(self.data) + len(self.chosen)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        """The image and its text."""
        other = self._other(index)
        if other < 0:
            return self.data[index]
        return self.images[self.chosen[other]], self.texts[other]

    def text(self, index: int) -> str:
        """The text alone."""
        other = self._other(index)
        return text_of(self.data, index) if other < 0 else self.texts[other]

    def _other(self, index: int) -> int:
        """The place among taught ones; below 0 for what has a label of its own."""
        if not 0 <= index < len(self):
            raise IndexError(f"Taught: item {index} of {len(self)}")
        return index - len(self.data)


def taught(
    data: Dataset,
    images: Sequence[Any],
    teacher: Recognizer,
    sure: float = SURE,
    *,
    accepts: Callable[[str], object] | None = None,
    quiet: bool = True,
) -> Taught:
    """A data set with further images, whose labels are what a trained reader reads there surely.

    Arguments: `data` with labels; `images`, as `Recognizer.read` takes them; `teacher`, a reader
    that learnt from `data`; `sure`, the least confidence of an answer that is taken;
    `accepts`, as `Recognizer.acceptor` of the reader that shall learn: raises ValueError for an
    answer that its language does not have, which is then left out. What the teacher reads wrong
    and surely is learnt too. Raises ValueError for `sure` beyond 0 .. 1, or where it is sure of
    nothing.
    Source: Scudder 1965; Lee 2013; a student that begins anew, Xie et al. 2020.
    """
    if not 0 <= sure <= 1:
        raise ValueError(f"taught: sure must be from 0 to 1, got {sure}")
    chosen: list[int] = []
    texts: list[str] = []
    firsts = range(0, len(images), _AT_ONCE)
    for first in tqdm(firsts, "teaching", disable=quiet or None, leave=False):
        indexes = range(first, min(first + _AT_ONCE, len(images)))
        answers = teacher.read([images[index] for index in indexes])
        for index, answer in zip(indexes, answers, strict=True):
            text = answer.amount
            if text is not None and answer.confidence >= sure and _accepted(text, accepts):
                chosen.append(index)
                texts.append(text)
    if not chosen:
        raise ValueError(
            f"taught: the teacher reads none of {len(images)} images with a confidence of {sure};"
            " a lower one would teach errors: label some more"
        )
    return Taught(data, images, chosen, texts)


def _accepted(text: str, accepts: Callable[[str], object] | None) -> bool:
    try:
        if accepts is not None:
            accepts(text)
    except ValueError:
        return False
    return True


def digests_of(*parts: Dataset | None) -> set[str]:
    """The digests of all that some data sets hold, which unlabelled files must not hold again."""
    there = [part for part in parts if part is not None]
    return {digest(part[index][0]) for part in there for index in range(len(part))}
