"""Energies with continuous latent variables: sparse codes, predictive encoders, noisy codes.

E(x, y, z) = C(y, Dec(Pred(x), z)) + D(z, Enc(y)) + λ R(z), minimized over the code z or
marginalized, as graphs are over paths. Needs torch alone.
"""

from __future__ import annotations

from gtnet.latent.dictionary import Dictionary as Dictionary
from gtnet.latent.dictionary import dead_atoms as dead_atoms
from gtnet.latent.dictionary import decode as decode
from gtnet.latent.energy import LatentEnergy as LatentEnergy
from gtnet.latent.fit import fit as fit
from gtnet.latent.items import squared_error as squared_error
from gtnet.latent.lista import LISTA as LISTA
from gtnet.latent.regularizers import L1 as L1
from gtnet.latent.regularizers import Gaussian as Gaussian
from gtnet.latent.regularizers import GroupL1 as GroupL1
from gtnet.latent.regularizers import Sparse as Sparse
from gtnet.latent.regularizers import shrink as shrink
from gtnet.latent.sparse_code import duality_gap as duality_gap
from gtnet.latent.sparse_code import sparse_code as sparse_code
from gtnet.latent.sparse_code import sparse_energy as sparse_energy
from gtnet.latent.sparse_coding import PredictiveEncoder as PredictiveEncoder
from gtnet.latent.sparse_coding import SparseCoding as SparseCoding
from gtnet.latent.vae import VAE as VAE
