from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

import gtnet
from gtnet import EPSILON
from gtnet.reader.alphabet import CLASSES, RUBBISH
from gtnet.reader.amounts import (
    GRAMMARS,
    SYMBOLS,
    amount_grammar,
    amount_graph,
    digit_string,
    labels_of,
    text_of,
    writings,
)

Configurations = Counter[tuple[int, str]]


class Enumerator:
    """Every derivation of drawn labels, by enumeration: how often each output arises."""

    def __init__(self, grammar: gtnet.Graph) -> None:
        self.leaving: dict[tuple[int, int], list[tuple[int, str]]] = {}
        columns = (grammar.source, grammar.ilabels, grammar.target, grammar.olabels)
        for source, ilabel, target, olabel in zip(*(c.tolist() for c in columns), strict=True):
            written = SYMBOLS[olabel] if olabel != EPSILON else ""
            self.leaving.setdefault((source, ilabel), []).append((target, written))
        self.accepting = torch.isfinite(grammar.accept).tolist()
        starts = torch.isfinite(grammar.start).nonzero().flatten().tolist()
        self.begin = self.closed(Counter({(state, ""): 1 for state in starts}))

    def step(self, configurations: Configurations, label: int) -> Configurations:
        after: Configurations = Counter()
        for (state, written), count in configurations.items():
            for target, more in self.leaving.get((state, label), []):
                after[target, written + more] += count
        return after

    def closed(self, configurations: Configurations) -> Configurations:
        """The configurations and all that moves without reading reach from them."""
        total, frontier = Counter(configurations), configurations
        while frontier:
            frontier = self.step(frontier, EPSILON)
            total.update(frontier)
        return total

    def read(self, configurations: Configurations, label: int) -> Configurations:
        return self.closed(self.step(configurations, label))

    def outputs(self, configurations: Configurations) -> Counter[str]:
        found: Counter[str] = Counter()
        for (state, written), count in configurations.items():
            if self.accepting[state]:
                found[written] += count
        return found


def readings(grammar: gtnet.Graph, drawn: list[int]) -> Counter[str]:
    enumerator = Enumerator(grammar)
    configurations = enumerator.begin
    for label in drawn:
        configurations = enumerator.read(configurations, label)
    return enumerator.outputs(configurations)


def read(grammar: gtnet.Graph, drawn: str) -> list[str]:
    return sorted(readings(grammar, labels_of(drawn)))


PLAIN = amount_grammar(rubbish=None)


@pytest.mark.parametrize(
    ("drawn", "amount"),
    [
        ("1234", "1234.00"),
        ("1234.50", "1234.50"),
        ("1234,50", "1234.50"),
        ("1,234.50", "1234.50"),
        ("1.234,50", "1234.50"),
        ("1.234", "1234.00"),
        ("1,234,567", "1234567.00"),
        ("12,-", "12.00"),
        ("1.234.-", "1234.00"),
        ("12-", "12.00"),
        ("12.50-", "12.50"),
        ("0.05", "0.05"),
        ("1234 50/100".replace(" ", ""), "1234.50"),
        ("1,234-50/100", "1234.50"),
        ("$12.00", "12.00"),
        ("**$*12.00**", "12.00"),
        ("--12--", "12.00"),
        ("100/100", "1.00"),
    ],
)
def test_a_drawn_amount_has_one_reading(drawn: str, amount: str) -> None:
    assert readings(PLAIN, labels_of(drawn)) == {amount: 1}


@pytest.mark.parametrize(
    "drawn",
    [
        "",
        "$",
        "1,23",
        "01.00",
        "1,2345",
        "1,234.567",
        "1,234,50",
        "1.234.50",
        "12$",
        "1/2",
        "12,0-0",
        "12.345,678",
        "1*2",
        "$$1",
        "12..",
        "50/10",
        "/100",
    ],
)
def test_what_is_no_amount_has_no_reading(drawn: str) -> None:
    expected = ["1.23"] if drawn == "1,23" else []
    assert read(PLAIN, drawn) == expected


@pytest.mark.parametrize("name", sorted(GRAMMARS))
def test_no_string_has_two_derivations(name: str) -> None:
    enumerator = Enumerator(GRAMMARS[name](rubbish=None))
    prefixes = [("", enumerator.begin)]
    for _ in range(6):
        prefixes = [
            (drawn + character, after)
            for drawn, before in prefixes
            for character in "01,.-$*/"
            if (after := enumerator.read(before, labels_of(character)[0]))
        ]
        if name == "digit_string":
            prefixes = prefixes[::5]
        for drawn, configurations in prefixes:
            found = enumerator.outputs(configurations)
            assert sum(found.values()) <= 1, (drawn, found)


def test_hundredths_have_one_derivation() -> None:
    for head in ("", "$", "*"):
        for units in ("1", "12", "1,234", "123", "1234"):
            for join in ("", "-"):
                for tail in ("", "-", "**"):
                    drawn = f"{head}{units}{join}50/100{tail}"
                    assert readings(PLAIN, labels_of(drawn)) == {
                        f"{units.replace(',', '')}.50": 1
                    }, drawn


@pytest.mark.parametrize("name", sorted(GRAMMARS))
def test_rubbish_is_skipped_anywhere_once(name: str) -> None:
    grammar = GRAMMARS[name]()
    for text in ("12", "1,234", "1.-", "12-50/100", "$1*"):
        drawn = labels_of(text)
        expected = readings(grammar, drawn)
        assert sum(expected.values()) == 1
        for places in itertools.product(range(len(drawn) + 1), repeat=2):
            noisy = list(drawn)
            for place in sorted(places, reverse=True):
                noisy.insert(place, RUBBISH)
            assert readings(grammar, noisy) == expected, noisy


def test_rubbish_costs_its_score() -> None:
    grammar = amount_grammar(rubbish=-2.5)
    drawn = gtnet.linear([RUBBISH, *labels_of("12"), RUBBISH])
    assert gtnet.forward_score(gtnet.compose(drawn, grammar)).item() == pytest.approx(-5.0)


def test_digit_string_reads_digits_only() -> None:
    grammar = digit_string(rubbish=None)
    assert readings(grammar, labels_of("13.254,00.-")) == {"1325400": 1}
    assert readings(grammar, labels_of("$0012-")) == {"0012": 1}
    assert read(grammar, "$.-") == []


def test_amount_graph_accepts_one_amount() -> None:
    acceptor = amount_graph("1234.50", PLAIN)
    assert gtnet.label_sequences(acceptor) == [labels_of("1234.50")]


@pytest.mark.parametrize("amount", ["1234", "01.00", "1,234.00", "12.5", "", "twelve", "1.234.00"])
def test_an_amount_outside_the_grammar_is_named(amount: str) -> None:
    with pytest.raises(ValueError, match="amount_graph") as caught:
        amount_graph(amount, PLAIN)
    assert repr(amount) in str(caught.value)


def test_writings_hold_every_way_to_write_the_amount() -> None:
    ways = writings("1234.50", amount_grammar())
    for drawn in ("1234.50", "1.234,50", "$1,234.50-", "123450/100"):
        accepted = gtnet.compose(gtnet.linear(labels_of(drawn)), ways)
        assert gtnet.forward_score(accepted).item() == pytest.approx(0.0, abs=1e-6), drawn
    for drawn in ("1234.51", "1234", "12345.0"):
        assert gtnet.compose(gtnet.linear(labels_of(drawn)), ways).num_arcs == 0


def test_text_and_labels_are_inverse() -> None:
    assert text_of(labels_of(CLASSES)) == CLASSES
    with pytest.raises(ValueError, match="'x'"):
        labels_of("1x")
