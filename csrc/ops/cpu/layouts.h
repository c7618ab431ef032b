// The layout of a batch of graphs as tensors.
#pragma once

#include "layout/transition_rows_builder.h"
#include "ops/cpu/executor.h"
#include "ops/tensors.h"

namespace gtnet::ops {

struct LaidOut {
  Tensor words, offsets;
  std::vector<int64_t> on_cycle;  // [graphs] a state on an epsilon cycle, -1 for none
};

// The arcs of graph g are there when prepare(g) is.
template <class Prepare>
LaidOut lay_out(const Tensor& like, const int64_t* states, const int64_t* arcs, int64_t num_graphs,
                const int32_t* source, const int32_t* target, const int32_t* labels,
                const Prepare& prepare) {
  Tensor offsets = empty<int64_t>(like, num_graphs + 1);
  std::vector<int64_t> on_cycle(num_graphs);
  std::vector<std::vector<int32_t>> laid_out(num_graphs);
  for (int64_t g = 0; g < num_graphs; ++g) {  // on threads it waits for the allocator
    prepare(g);
    const int64_t a = arcs[g];
    layout::TransitionRowsBuilder builder(static_cast<int32_t>(states[g + 1] - states[g]),
                                          static_cast<int32_t>(arcs[g + 1] - a), source + a,
                                          target + a, labels + a);
    on_cycle[g] = builder.build(laid_out[g]);
  }
  int64_t* const begin = output<int64_t>(offsets);
  begin[0] = 0;
  for (int64_t g = 0; g < num_graphs; ++g) {
    begin[g + 1] = begin[g] + static_cast<int64_t>(laid_out[g].size());
  }
  Tensor words = empty<int32_t>(like, begin[num_graphs]);
  for_each_graph(num_graphs, words.numel(), [&](int64_t g) {
    std::copy(laid_out[g].begin(), laid_out[g].end(), output<int32_t>(words) + begin[g]);
  });
  return {words, offsets, on_cycle};
}

}  // namespace gtnet::ops
