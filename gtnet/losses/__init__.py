"""Losses as graph algebra, on energies (energy = -score)."""

from __future__ import annotations

from gtnet.losses.criteria import discriminative_forward as discriminative_forward
from gtnet.losses.sequences import ctc_loss as ctc_loss
