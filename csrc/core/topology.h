// Views of a batch of automata: pointers into tensors that somebody else owns.
#pragma once

#include "core/span.h"

namespace gtnet {

// The arcs of every state, contiguous; states and arcs are numbered through the whole batch.
struct Csr {
  In<int32_t> offsets;  // state s owns positions [offsets[s], offsets[s + 1])
  In<int32_t> arcs;     // arc at each position
  In<int32_t> states;   // state at its other end
};

// The graphs of a batch and an order of their states in which every arc leads forward.
struct Walk {
  int64_t num_graphs;
  In<int64_t> state_offsets;  // graph g owns order[state_offsets[g]] ... and as many states
  In<int32_t> order;
  bool reverse;  // walk the order from its end
};

// A walk whose order is cut into layers: arcs lead from layer to later layer only, so the states of
// one layer can be done side by side. Position i belongs to [layer_begin[i], layer_end[i]).
struct LayeredWalk : Walk {
  In<int32_t> layer_begin;
  In<int32_t> layer_end;
  int64_t num_states;
};

// The positions [begin, end) of a strongly connected component with a cycle, in an order of states.
struct CyclicComponent {
  int32_t begin, end;
};

// A walk in whose order only the arcs within a component may lead backward.
struct CyclicWalk : Walk {
  const int64_t* component_offsets;  // graph g has components [component_offsets[g], ... g + 1)
  const CyclicComponent* components;
};

}  // namespace gtnet
