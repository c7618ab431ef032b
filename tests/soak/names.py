"""Which public names the soak calls, and why it does not call the others."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import gtnet
from gtnet.interop import gtn, k2, openfst

MODULES = {
    "": gtnet,
    "losses.": gtnet.losses,
    "nn.": gtnet.nn,
    "interop.": gtnet.interop,
    "interop.openfst.": openfst,
    "interop.k2.": k2,
    "interop.gtn.": gtn,
}
CLASSES = {"Graph": gtnet.Graph, "Lattice": gtnet.Lattice}

DRAWS = "makes pictures, no graphs: tests/test_draw*.py"
READS_FILES = "reads or writes files: tests/fuzz_files.py"
NOT_INSTALLED = "its package is not installed; tests/test_interop.py has stand-ins"
EXCLUDED = {
    "Animation": DRAWS,
    "GraphvizMissingError": DRAWS,
    "GraphView": DRAWS,
    "Picture": DRAWS,
    "draw": DRAWS,
    "draw_alignment": DRAWS,
    "draw_animation": DRAWS,
    "draw_composition": DRAWS,
    "draw_gradient": DRAWS,
    "draw_view": DRAWS,
    "draw_widget": DRAWS,
    "to_dot": DRAWS,
    "Properties": "what properties returns",
    "Condensed": "what condense returns",
    "Code": "what encode returns",
    "carry": "a gather along maps that are on trial: tests/test_carry.py",
    "Ragged": "what carry takes and returns",
    "sample_distinct": "against enumeration: tests/test_sampling.py",
    "DistinctPaths": "what sample_distinct returns",
    "sample_stratified": "against enumeration: tests/test_sampling.py",
    "perturb_and_map": "against enumeration: tests/test_sampling.py",
    "relaxed_sample": "against its limit: tests/test_sampling.py",
    "sparse_map": "against its optimality conditions: tests/test_sampling.py",
    "SparsePaths": "what sparse_map returns",
    "losses.mwer_loss": "draws: tests/test_carry.py",
    "losses.simple_transducer_loss": "against recursions: tests/test_transducer_losses.py",
    "losses.prune_transducer": "against recursions: tests/test_transducer_losses.py",
    "losses.gnat_loss": "against enumeration: tests/test_gnat.py",
    "losses.ngram_contexts": "a table of integers: tests/test_gnat.py",
    "LazyComposition": "against the product built: tests/test_lazy_composition.py",
    "FailureGraph": "no automaton, but what a search takes: tests/test_beam_product.py",
    "HistoryGraph": "a network in a search: tests/test_history_graph.py",
    "trellis_graph": "against enumeration: tests/test_trellis.py",
    "alignment_graph": "against enumeration: tests/test_trellis.py",
    "Lexicon": READS_FILES,
    "NGramModel": READS_FILES,
    "SymbolTable": "names of labels, no graph: tests/test_lexicon.py",
    "load": READS_FILES,
    "save": READS_FILES,
    "interop.load": READS_FILES,
    "interop.save": READS_FILES,
    "interop.openfst.read": READS_FILES,
    "interop.openfst.write": READS_FILES,
    "interop.openfst.read_binary": READS_FILES,
    "interop.openfst.write_binary": READS_FILES,
    "interop.k2.read": READS_FILES,
    "interop.k2.write": READS_FILES,
    "interop.gtn.read": READS_FILES,
    "interop.gtn.write": READS_FILES,
    "interop.gtn.read_binary": READS_FILES,
    "interop.gtn.write_binary": READS_FILES,
    "interop.k2.from_fsa": NOT_INSTALLED,
    "interop.k2.to_fsa": NOT_INSTALLED,
    "interop.openfst.to_kaldifst": "through the same bytes as to_pynini",
    "losses.register": "keeps a name, sees no graph",
    "losses.Energies": "what losses.energies returns",
    "losses.Offending": "what losses.most_offending returns",
    "ForcedAlignment": "what forced_align returns",
    "Span": "what forced_align returns",
    "Graph.from_topology": "unchecked, for code that made a topology itself",
    "Lattice": "made by compose of emissions and a graph, under trial by its methods",
}


def public() -> Iterator[str]:
    """Every public function and class, and the methods of the classes of graphs."""
    for prefix, module in MODULES.items():
        for name in dir(module):
            value = getattr(module, name)
            ours = getattr(value, "__module__", "").startswith("gtnet")
            if name.startswith("_") or not callable(value) or not ours:
                continue
            is_format = module in (openfst, k2, gtn)  # which import what they need
            if is_format and value.__module__ != module.__name__:
                continue
            yield prefix + name
    for kind, cls in CLASSES.items():
        own = vars(gtnet.Lattice) if kind == "Lattice" else vars(cls)
        for name, value in own.items():
            if not name.startswith("_") and (
                inspect.isfunction(value) or isinstance(value, classmethod)
            ):
                yield f"{kind}.{name}"


def not_covered(called: set[str]) -> list[str]:
    """Public names that neither were called nor are excluded."""
    return sorted(set(public()) - called - set(EXCLUDED))


def excluded_in_vain(called: set[str]) -> list[str]:
    """Exclusions of what is no public name, or is called after all."""
    return sorted((set(EXCLUDED) - set(public())) | (set(EXCLUDED) & called))
