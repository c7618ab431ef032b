"""The interfaces of other packages, implemented by gtnet."""

from __future__ import annotations
