"""gtnet: train neural networks through weighted finite-state graphs."""

from __future__ import annotations

__version__ = "0.2.0"

from gtnet import _on_demand
from gtnet import _ops as _ops  # torch knows the operators as soon as gtnet is imported

__all__, __getattr__, __dir__ = _on_demand.import_on_demand(__name__)  # what __init__.pyi lists
