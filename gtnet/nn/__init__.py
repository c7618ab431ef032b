"""nn.Modules whose forward takes or gives graphs."""

from __future__ import annotations

from gtnet.nn.energies import EnergyLoss as EnergyLoss
