"""gtnet: train neural networks through weighted finite-state graphs."""

from __future__ import annotations

__version__ = "0.1.0"

from gtnet import losses as losses
from gtnet._checks import EPSILON as EPSILON
from gtnet.alignments import asg_graph as asg_graph
from gtnet.alignments import ctc_graph as ctc_graph
from gtnet.alignments import hmm_graph as hmm_graph
from gtnet.alignments import pack_repetitions as pack_repetitions
from gtnet.alignments import star_graph as star_graph
from gtnet.alignments import unpack_repetitions as unpack_repetitions
from gtnet.beam_search import BeamSearch as BeamSearch
from gtnet.beam_search import beam_search as beam_search
from gtnet.build import GraphBuilder as GraphBuilder
from gtnet.build import linear as linear
from gtnet.build import trie as trie
from gtnet.compose import compose as compose
from gtnet.compose import connect as connect
from gtnet.compose import intersect as intersect
from gtnet.determinize import determinize as determinize
from gtnet.difference import difference as difference
from gtnet.distance import forward_score as forward_score
from gtnet.distance import posteriors as posteriors
from gtnet.distance import shortest_distance as shortest_distance
from gtnet.distance import viterbi_score as viterbi_score
from gtnet.distributions import cross_entropy as cross_entropy
from gtnet.distributions import entropy as entropy
from gtnet.distributions import expectation as expectation
from gtnet.distributions import kl_divergence as kl_divergence
from gtnet.draw import GraphvizMissingError as GraphvizMissingError
from gtnet.draw import draw as draw
from gtnet.draw import to_dot as to_dot
from gtnet.emissions import Emissions as Emissions
from gtnet.equivalence import equivalent as equivalent
from gtnet.equivalence import randomly_equivalent as randomly_equivalent
from gtnet.free_alignments import bigram_graph as bigram_graph
from gtnet.free_alignments import ctc_topology as ctc_topology
from gtnet.free_alignments import with_star as with_star
from gtnet.graph import Graph as Graph
from gtnet.graph import stack as stack
from gtnet.grids import segment_emissions as segment_emissions
from gtnet.grids import segment_graph as segment_graph
from gtnet.grids import transducer_graph as transducer_graph
from gtnet.lattice import Lattice as Lattice
from gtnet.minimize import minimize as minimize
from gtnet.paths import enumerate_paths as enumerate_paths
from gtnet.paths import k_best as k_best
from gtnet.paths import label_sequences as label_sequences
from gtnet.paths import sample as sample
from gtnet.paths import viterbi_path as viterbi_path
from gtnet.prune import prune as prune
from gtnet.push import push as push
from gtnet.random_graph import random_graph as random_graph
from gtnet.rational import closure as closure
from gtnet.rational import concat as concat
from gtnet.rational import invert as invert
from gtnet.rational import project as project
from gtnet.rational import relabel as relabel
from gtnet.rational import reverse as reverse
from gtnet.rational import union as union
from gtnet.remove_epsilon import remove_epsilon as remove_epsilon
from gtnet.replace import replace as replace
from gtnet.sorting import arc_sort as arc_sort
from gtnet.sorting import top_sort as top_sort
