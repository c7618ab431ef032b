"""Alphabets: the characters that a recognizer tells apart, and the label of what is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

CLASSES = "0123456789$,.-*/"
"""The characters an amount is drawn with; the index in this string is the label."""

RUBBISH = len(CLASSES)
"""The label of a segment that is not a character: noise, a piece of one, or several together."""

NUM_CLASSES = len(CLASSES) + 1


class Alphabet:
    """The characters a recognizer reads, in the order of their labels.

    A network scores `num_labels` labels: one for each character, and last `nothing`, for what is
    no character (rubbish between segments, the blank between characters of frames).

    Arguments: `characters` a string, or names of one or more letters each; reading `text`, the
    longest name that fits is taken. Raises ValueError for none, an empty name or one given twice.
    """

    __slots__ = ("_label", "_longest", "characters")

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = tuple(characters)
        self._label = {name: label for label, name in enumerate(self.characters)}
        if not self.characters or "" in self._label:
            raise ValueError("Alphabet: give at least one character, and no empty name")
        if len(self._label) < len(self.characters):
            twice = next(c for c in self.characters if self.characters.count(c) > 1)
            raise ValueError(f"Alphabet: {twice!r} is given more than once; a label has one name")
        self._longest = max(map(len, self.characters))

    def __len__(self) -> int:
        """Number of characters."""
        return len(self.characters)

    def __iter__(self) -> Iterator[str]:
        return iter(self.characters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alphabet) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Alphabet({self.characters})"

    @property
    def nothing(self) -> int:
        """The label behind those of the characters: no character."""
        return len(self.characters)

    @property
    def num_labels(self) -> int:
        """Scores that a network gives: the characters and `nothing`."""
        return len(self.characters) + 1

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of all labels, for pictures; `nothing` is ▨."""
        return (*self.characters, "▨")

    def labels_of(self, text: str) -> list[int]:
        """The labels of a string. Raises ValueError at what is not in the alphabet."""
        labels, at = [], 0
        while at < len(text):
            for length in range(min(self._longest, len(text) - at), 0, -1):
                label = self._label.get(text[at : at + length])
                if label is not None:
                    labels.append(label)
                    at += length
                    break
            else:
                raise ValueError(
                    f"labels_of: {text[at]!r} in {text!r} is not one of {''.join(self)}"
                )
        return labels

    def text_of(self, labels: Sequence[int]) -> str:
        """The string of a label sequence: the inverse of `labels_of`; `nothing` is ▨."""
        return "".join(self.symbols[label] for label in labels)


AMOUNTS = Alphabet(CLASSES)
"""The alphabet of drawn amounts."""
