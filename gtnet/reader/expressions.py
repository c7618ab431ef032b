"""Regular expressions as acceptors: a grammar in one line of text."""

from __future__ import annotations

import gtnet
from gtnet.reader.alphabet import Alphabet

_MOST = 1000  # repetitions written out
_MOST_ARCS = 200_000  # of all of them together
_SPECIAL = set("|()[]*+?{}\\.")


def regular_expression(text: str, alphabet: Alphabet) -> gtnet.Graph:
    r"""The acceptor of the strings that a regular expression matches as a whole, each once.

    It has characters of the alphabet, `.` any of them, `\d` a digit, sets `[0-9$]` and `[^0]`,
    alternatives `a|b`, groups `(...)`, and repetitions `*`, `+`, `?`, `{2}`, `{1,3}`, `{2,}`; a
    backslash makes a sign an ordinary character. Empty alternatives match nothing written.

    Raises ValueError that points at what is wrong, and for an expression that matches nothing.
    Complexity: that of `determinize`, exponential in the expression at worst.
    Source: Thompson 1968, "Programming Techniques: Regular expression search algorithm".
    """
    parser = _Parser(text, alphabet)
    graph = parser.alternatives()
    if parser.at < len(text):
        raise parser.wrong("unbalanced )")
    graph = gtnet.remove_epsilon(graph, semiring="tropical")
    parted = gtnet.determinize(graph, semiring="tropical", max_states=100_000)
    found = gtnet.minimize(parted, semiring="tropical")
    if found.num_states == 0:
        raise ValueError(f"regular_expression: {text!r} matches nothing")
    return found


class _Parser:
    """One pass from left to right; every method returns the graph of what it has read."""

    def __init__(self, text: str, alphabet: Alphabet) -> None:
        self.text, self.alphabet, self.at = text, alphabet, 0
        self.digits = [label for label, name in enumerate(alphabet) if name in set("0123456789")]

    def wrong(self, what: str) -> ValueError:
        """The error for what stands here."""
        return ValueError(f"regular_expression: {what} at character {self.at + 1} of {self.text!r}")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        found = self.peek()
        self.at += 1
        return found

    def alternatives(self) -> gtnet.Graph:
        found = [self.sequence()]
        while self.peek() == "|":
            self.take()
            found.append(self.sequence())
        return found[0] if len(found) == 1 else gtnet.union(*found)

    def sequence(self) -> gtnet.Graph:
        found = gtnet.linear([])
        while self.peek() not in ("", "|", ")"):
            found = found + self.repeated()
        return found

    def repeated(self) -> gtnet.Graph:
        one = self.atom()
        while self.peek() in ("*", "+", "?", "{") and self.peek():
            sign = self.take()
            if sign == "{":
                one = self.counted(one)
            else:
                one = {"*": one.star, "+": one.plus, "?": one.optional}[sign]
        return one

    def counted(self, one: gtnet.Graph) -> gtnet.Graph:
        end = self.text.find("}", self.at)
        least, comma, most = self.text[self.at : end].partition(",") if end >= 0 else ("", "", "")
        if not least.isdecimal() or not (most.isdecimal() or not most):
            raise self.wrong("expected {2}, {1,3} or {2,}")
        low, high = int(least), int(most or least)
        if low > high or high > _MOST:
            raise self.wrong(f"repetitions must rise, to {_MOST} at most,")
        if (high + 1) * one.num_arcs > _MOST_ARCS:
            raise self.wrong(f"this repetition would take more than {_MOST_ARCS:,} arcs,")
        self.at = end + 1
        found = gtnet.linear([])
        for _ in range(low):
            found = found + one
        if comma and not most:
            return found + one.star
        rest = gtnet.linear([])
        for _ in range(high - low):  # (a(a(a)?)?)?
            rest = (one + rest).optional
        return found + rest

    def atom(self) -> gtnet.Graph:
        sign = self.peek()
        if sign == "(":
            self.take()
            found = self.alternatives()
            if self.peek() != ")":
                raise self.wrong("missing )")
            self.take()
            return found
        if sign == "[":
            return self.any_of(self.set())
        if sign == ".":
            self.take()
            return self.any_of(range(len(self.alphabet)))
        if sign in _SPECIAL and sign != "\\":
            raise self.wrong(f"nothing before {sign}" if sign in "*+?{" else f"unexpected {sign}")
        return self.any_of(self.character())

    def set(self) -> list[int]:
        self.take()
        without = self.peek() == "^"
        if without:
            self.take()
        found: list[int] = []
        while self.peek() != "]":
            if not self.peek():
                raise self.wrong("missing ]")
            first = self.character(inside=True)
            if self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.take()
                first = self.span(first, self.character(inside=True))
            found += first
        self.take()
        return [n for n in range(len(self.alphabet)) if n not in found] if without else found

    def span(self, first: list[int], last: list[int]) -> list[int]:
        names = self.alphabet.characters
        if len(first) != 1 or len(last) != 1 or names[first[0]] > names[last[0]]:
            raise self.wrong("a span goes from one character up to another")
        return [n for n, name in enumerate(names) if names[first[0]] <= name <= names[last[0]]]

    def character(self, inside: bool = False) -> list[int]:
        """The labels of an ordinary character, the longest name that stands here."""
        escaped = self.peek() == "\\"
        if escaped:
            self.take()
            if self.peek() == "d":
                self.take()
                return self.digits
        names = sorted(self.alphabet.characters, key=len, reverse=True)
        for name in names:
            if self.text.startswith(name, self.at):
                self.at += len(name)
                return self.alphabet.labels_of(name)
        raise self.wrong(
            f"{self.peek()!r} is not one of {''.join(self.alphabet)}" if self.peek() else "the end"
        )

    def any_of(self, labels: range | list[int]) -> gtnet.Graph:
        found = sorted(set(labels))
        if not found:
            raise self.wrong("a set without characters")
        here, there = [0] * len(found), [1] * len(found)
        return gtnet.Graph(here, there, found, start=0, accept=1, num_states=2)
