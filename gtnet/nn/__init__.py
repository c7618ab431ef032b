"""nn.Modules whose forward takes or gives graphs."""

from __future__ import annotations

from gtnet.nn.crf import CRF as CRF
from gtnet.nn.crf import SemiMarkovCRF as SemiMarkovCRF
from gtnet.nn.energies import EnergyLoss as EnergyLoss
from gtnet.nn.sequences import ASGLoss as ASGLoss
from gtnet.nn.sequences import CTCLoss as CTCLoss
from gtnet.nn.sequences import LFMMILoss as LFMMILoss
from gtnet.nn.sequences import TransducerLoss as TransducerLoss
