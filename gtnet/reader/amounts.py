"""The language of written amounts, as transducers from what is drawn to the canonical amount."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

import gtnet
from gtnet import EPSILON
from gtnet.reader.alphabet import AMOUNTS, CLASSES
from gtnet.reader.languages import skipping

SYMBOLS = AMOUNTS.symbols
"""Symbol table of drawn characters, for pictures of graphs: one string per label."""

FILLERS = "*-"
"""Characters before and after an amount that read as nothing."""

SKIPPED = "$,.-*/"
"""Characters that read as nothing anywhere in a digit string."""


def labels_of(text: str) -> list[int]:
    """The labels of a string of drawn characters.

    Raises ValueError on a character that is not in the alphabet.
    """
    return AMOUNTS.labels_of(text)


def text_of(labels: list[int]) -> str:
    """The string of a label sequence: the inverse of `labels_of`; rubbish is ▨."""
    return AMOUNTS.text_of(labels)


@dataclass
class _Arcs:
    """Named states and arcs, collected as characters and turned into a graph at the end."""

    names: dict[str, int] = field(default_factory=dict)
    rows: list[tuple[int, int, int, int]] = field(default_factory=list)

    def state(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names))

    def arc(self, source: str, target: str, reads: str, writes: str | None = None) -> None:
        """One arc per character of `reads` ("" reads nothing); `writes` None copies it."""
        for character in reads or [""]:
            written = character if writes is None else writes
            self.rows.append(
                (
                    self.state(source),
                    self.state(target),
                    CLASSES.index(character) if character else EPSILON,
                    CLASSES.index(written) if written else EPSILON,
                )
            )

    def graph(self, start: str, accept: list[str]) -> gtnet.Graph:
        source, target, ilabels, olabels = (list(column) for column in zip(*self.rows, strict=True))
        return gtnet.Graph(
            source,
            target,
            ilabels,
            olabels,
            start=self.state(start),
            accept=[self.state(name) for name in accept],
            num_states=len(self.names),
        )


def amount_grammar(*, rubbish: float | None = 0.0) -> gtnet.Graph:
    """The transducer from a drawn amount to its canonical form, such as "1234.50".

    What may be drawn, in this order: fillers (`*`, `-`; a drawn `=` is recognized as `-`), a
    currency sign, fillers, whole units, cents, fillers. Whole units have no leading zero and use a
    thousands separator (`,` or `.`) everywhere or nowhere. Cents are two digits after the mark
    that does not separate thousands (`.00`, `,00`), or a mark and a dash (`.-`), or hundredths
    (`50/100`, also `-50/100`), or nothing. The output is the digits, "." and two digits of cents.

    Every drawn string has one derivation: paths count in the log semiring. `1.234` is one
    thousand two hundred and thirty-four, because cents have two digits.

    `rubbish`: score of skipping a rubbish segment, anywhere; None makes rubbish illegal.
    Result: a batch of one transducer, ilabels are classes, olabels digits and ".".
    """
    arcs = _Arcs()
    digits, nonzero = CLASSES[:10], CLASSES[1:10]
    for state in ("begin", "signed"):
        arcs.arc(state, state, FILLERS, "")
        arcs.arc(state, "zero", "0")
        arcs.arc(state, "1 digit", nonzero)
    arcs.arc("begin", "signed", "$", "")
    arcs.arc("1 digit", "2 digits", digits)
    arcs.arc("2 digits", "3 digits", digits)
    arcs.arc("3 digits", "digits", digits)
    arcs.arc("digits", "digits", digits)
    for mark in ",.":
        group = [f"group{mark}{place}" for place in range(4)]
        for head in ("1 digit", "2 digits", "3 digits", group[3]):
            arcs.arc(head, group[0], mark, "")
        for place in range(3):
            arcs.arc(group[place], group[place + 1], digits)
    plain = ("zero", "1 digit", "2 digits", "3 digits", "digits")
    for units, decimal_marks in ((plain, ",."), (("group,3",), "."), (("group.3",), ",")):
        for state in units:
            arcs.arc(state, "mark", decimal_marks, ".")
            arcs.arc(state, "mark, dash", ",.", ".")
            arcs.arc(state, "hundredths", "-", ".")
            arcs.arc(state, "hundredths", "", ".")
            arcs.arc(state, "no cents", "", ".")
    arcs.arc("mark", "cents 1", digits)
    arcs.arc("cents 1", "end", digits)
    arcs.arc("mark, dash", "last zero", "-", "0")
    arcs.arc("no cents", "last zero", "", "0")
    arcs.arc("last zero", "end", "", "0")
    arcs.arc("hundredths", "hundredths 1", digits)
    arcs.arc("hundredths 1", "hundredths 2", digits)
    arcs.arc("hundredths 2", "/", "/", "")
    arcs.arc("/", "/1", "1", "")
    arcs.arc("/1", "/10", "0", "")
    arcs.arc("/10", "end", "0", "")
    arcs.arc("end", "end", FILLERS, "")
    return _skipping_rubbish(arcs.graph("begin", ["end"]), rubbish)


def digit_string(*, rubbish: float | None = 0.0) -> gtnet.Graph:
    """The transducer from digits with signs and marks anywhere to the digits alone.

    For data whose separators are drawn but not labelled: a drawn `13.254,00.-` reads 1325400.
    At least one digit must be drawn. `rubbish` as in `amount_grammar`.
    """
    arcs = _Arcs()
    for state in ("begin", "end"):
        arcs.arc(state, state, SKIPPED, "")
        arcs.arc(state, "end", CLASSES[:10])
    return _skipping_rubbish(arcs.graph("begin", ["end"]), rubbish)


GRAMMARS = {"amount": amount_grammar, "digit_string": digit_string}
"""The grammars by the name that a data set and a checkpoint carry."""


_CENTS = re.compile(r"([.,](\d\d|-)|\d\d/100)[*-]*$")


@cache
def _language(name: str) -> gtnet.Graph:
    return GRAMMARS[name](rubbish=None)


def canonical(text: str, name: str) -> str:
    """An amount as a grammar writes it, from a label that writes it so or as it may be drawn.

    `name`: of a grammar. A label drawn otherwise must show its cents (1.234,56; 12.-; 7 50/100
    without the blank): 1.234 may mean two amounts. A sign in front is no filler in a label.
    Raises ValueError that says what is wrong with the label.
    """
    if re.fullmatch(r"(0|[1-9]\d*)\.\d\d" if name == "amount" else r"\d+", text, re.ASCII):
        return text
    example = "1234.50" if name == "amount" else "123450"
    try:
        labels = labels_of(text)
    except ValueError:
        strange = next(c for c in text if c not in CLASSES)
        raise ValueError(
            f"label {text!r} holds {strange!r}, which no amount does; write it as {example}"
        ) from None
    if text.startswith("-"):
        raise ValueError(f"label {text!r} has a sign, and amounts have none; write {example}")
    written = gtnet.compose(gtnet.linear(labels), _language(name))
    if written.num_states == 0:
        raise ValueError(f"label {text!r} is not in the grammar {name}; write it as {example}")
    (found,) = gtnet.label_sequences(gtnet.viterbi_path(written))
    if name == "amount" and not _CENTS.search(text):
        raise ValueError(
            f"label {text!r} does not say its cents; write {text_of(found)} if it has none"
            " (or choose --grammar digit_string for digits alone)"
        )
    return text_of(found)


def _skipping_rubbish(grammar: gtnet.Graph, rubbish: float | None) -> gtnet.Graph:
    """The grammar after a transducer that copies characters and drops rubbish.

    Composition gives each drawn string with rubbish one derivation per derivation without it;
    loops added by hand would count twice wherever the grammar moves without reading.
    """
    if rubbish is None:
        return grammar
    return gtnet.compose(skipping(AMOUNTS, rubbish), grammar)


def amount_graph(text: str, grammar: gtnet.Graph) -> gtnet.Graph:
    """The acceptor of one canonical amount, checked to be in the output language of the grammar.

    `text`: a canonical amount, such as "1234.50" for `amount_grammar` or "1325400" for
    `digit_string`. Raises ValueError that names an amount the grammar cannot write.
    """
    try:
        acceptor = gtnet.linear(labels_of(text))
    except ValueError as error:
        raise ValueError(f"amount_graph: {text!r} is not an amount: {error}") from error
    if gtnet.compose(grammar, acceptor).num_arcs == 0:
        raise ValueError(
            f"amount_graph: the amount {text!r} is outside the grammar; write it as the grammar"
            " does, such as 1234.50 for amounts (no leading zeros, two digits of cents) or"
            " 123450 for digit strings"
        )
    return acceptor


def writings(text: str, grammar: gtnet.Graph) -> gtnet.Graph:
    """All ways to draw one canonical amount: the grammar restricted to this output.

    The result is a transducer from drawn characters to `text`. Raises ValueError as
    `amount_graph` does.
    """
    return gtnet.compose(grammar, amount_graph(text, grammar))
