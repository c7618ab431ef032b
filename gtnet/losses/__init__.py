"""Losses as graph algebra, on energies (energy = -score)."""

from __future__ import annotations

from gtnet.losses.answers import Offending as Offending
from gtnet.losses.answers import most_offending as most_offending
from gtnet.losses.costs import generalized_margin as generalized_margin
from gtnet.losses.costs import generalized_margin_k_best as generalized_margin_k_best
from gtnet.losses.costs import minimum_risk as minimum_risk
from gtnet.losses.costs import minimum_risk_k_best as minimum_risk_k_best
from gtnet.losses.costs import soft_margin as soft_margin
from gtnet.losses.costs import structured_hinge as structured_hinge
from gtnet.losses.criteria import discriminative_forward as discriminative_forward
from gtnet.losses.criteria import discriminative_viterbi as discriminative_viterbi
from gtnet.losses.criteria import forward as forward
from gtnet.losses.criteria import viterbi as viterbi
from gtnet.losses.elementwise import energy as energy
from gtnet.losses.elementwise import hinge as hinge
from gtnet.losses.elementwise import log as log
from gtnet.losses.elementwise import lvq2 as lvq2
from gtnet.losses.elementwise import mce as mce
from gtnet.losses.elementwise import mee as mee
from gtnet.losses.elementwise import nll as nll
from gtnet.losses.elementwise import perceptron as perceptron
from gtnet.losses.elementwise import square_exp as square_exp
from gtnet.losses.elementwise import square_square as square_square
from gtnet.losses.energies import Energies as Energies
from gtnet.losses.energies import energies as energies
from gtnet.losses.gnat import gnat_loss as gnat_loss
from gtnet.losses.gnat import ngram_contexts as ngram_contexts
from gtnet.losses.mwer import mwer_loss as mwer_loss
from gtnet.losses.registry import LOSSES as LOSSES
from gtnet.losses.registry import by_name as by_name
from gtnet.losses.registry import register as register
from gtnet.losses.sequences import asg_loss as asg_loss
from gtnet.losses.sequences import ctc_loss as ctc_loss
from gtnet.losses.sequences import lf_mmi_loss as lf_mmi_loss
from gtnet.losses.transducers import prune_transducer as prune_transducer
from gtnet.losses.transducers import simple_transducer_loss as simple_transducer_loss
from gtnet.losses.transducers import transducer_loss as transducer_loss
