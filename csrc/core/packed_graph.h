// One graph in a row of 32-bit words, so that a tensor holds it but for its weights: of a graph of
// a few arcs every further tensor takes longer to make than all that is computed.
//
//   states, arcs, 1 if arcs write what they read, maps |
//   start, accept: float [states] each | source, target, ilabels: [arcs] each |
//   olabels: [arcs], unless arcs write what they read | maps: [arcs] each
#pragma once

#include "core/topology.h"

namespace gtnet {

struct PackedGraph {
  static constexpr int64_t kHeader = 4;

  int64_t num_states = 0, num_arcs = 0;
  bool acceptor = false;
  int64_t num_maps = 0;

  // How many words there are.
  int64_t size() const {
    return kHeader + 2 * num_states + (acceptor ? 3 : 4) * num_arcs + num_maps * num_arcs;
  }

  // The graph of which these are the words; `size` is how many there are.
  static bool read(const int32_t* words, int64_t size, PackedGraph& graph) {
    if (size < kHeader || words[0] < 0 || words[1] < 0 || words[3] < 0) return false;
    graph = {words[0], words[1], words[2] != 0, words[3]};
    return graph.size() == size;
  }
  void write_header(int32_t* words) const {
    words[0] = static_cast<int32_t>(num_states);
    words[1] = static_cast<int32_t>(num_arcs);
    words[2] = acceptor ? 1 : 0;
    words[3] = static_cast<int32_t>(num_maps);
  }
};

// Where the parts of a packed graph begin; Word is int32_t or const int32_t, Score the like float.
template <class Word, class Score>
struct PackedParts {
  Score *start, *accept;
  Word *source, *target, *ilabels, *olabels, *maps;

  PackedParts(const PackedGraph& graph, Word* words)
      : start(reinterpret_cast<Score*>(words + PackedGraph::kHeader)),
        accept(start + graph.num_states),
        source(words + PackedGraph::kHeader + 2 * graph.num_states),
        target(source + graph.num_arcs),
        ilabels(target + graph.num_arcs),
        olabels(graph.acceptor ? ilabels : ilabels + graph.num_arcs),
        maps(olabels + graph.num_arcs) {}
};

}  // namespace gtnet
