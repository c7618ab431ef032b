"""The alphabet every part of the reader shares: what a segment of an amount can be."""

from __future__ import annotations

CLASSES = "0123456789$,.-*/"
"""The characters an amount is drawn with; the index in this string is the label."""

RUBBISH = len(CLASSES)
"""The label of a segment that is not a character: noise, a piece of one, or several together."""

NUM_CLASSES = len(CLASSES) + 1
