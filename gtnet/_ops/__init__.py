"""torch.ops.gtnet.*: the only package that touches them; their loading, fakes and gradients."""

from __future__ import annotations

from gtnet._ops.distance import Cycles as Cycles
from gtnet._ops.distance import OnPaths as OnPaths
from gtnet._ops.distance import Walk as Walk
from gtnet._ops.distance import best_distance as best_distance
from gtnet._ops.distance import best_end as best_end
from gtnet._ops.distance import exp_or_zero as exp_or_zero
from gtnet._ops.distance import log_distance as log_distance
from gtnet._ops.distance import log_shares as log_shares
from gtnet._ops.distance import posteriors as posteriors
from gtnet._ops.distance import recursion as recursion
from gtnet._ops.distance import trace as trace
from gtnet._ops.emissions import OutOfRangeError as OutOfRangeError
from gtnet._ops.emissions import Steps as Steps
from gtnet._ops.emissions import block_steps as block_steps
from gtnet._ops.emissions import chain_best as chain_best
from gtnet._ops.emissions import chain_score as chain_score
from gtnet._ops.emissions import ctc_arcs as ctc_arcs
from gtnet._ops.emissions import rows_of_labels as rows_of_labels
from gtnet._ops.emissions import steps as steps
from gtnet._ops.library import HAS_CUDA as HAS_CUDA
from gtnet._ops.paths import enumerate_paths as enumerate_paths
from gtnet._ops.paths import k_best as k_best
from gtnet._ops.paths import sample as sample
from gtnet._ops.rewrites import compose as compose
from gtnet._ops.rewrites import difference as difference
from gtnet._ops.rewrites import equivalent as equivalent
from gtnet._ops.rewrites import rational as rational
from gtnet._ops.simplify import Determinized as Determinized
from gtnet._ops.simplify import determinize as determinize
from gtnet._ops.simplify import epsilon_pairs as epsilon_pairs
from gtnet._ops.simplify import minimize as minimize
from gtnet._ops.simplify import push_labels as push_labels
from gtnet._ops.take import take as take
from gtnet._ops.take import total_by as total_by
from gtnet._ops.walks import components as components
from gtnet._ops.walks import elimination as elimination
from gtnet._ops.walks import incidence as incidence
from gtnet._ops.walks import layers as layers
from gtnet._ops.walks import reach as reach
from gtnet._ops.walks import sort_by_label as sort_by_label
from gtnet._ops.walks import topological_order as topological_order
