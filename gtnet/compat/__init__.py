"""The interfaces of other packages on top of gtnet."""

from __future__ import annotations
