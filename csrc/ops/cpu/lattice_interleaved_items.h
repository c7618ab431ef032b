// Which batches may be interleaved, and their items as lattice/cpu/interleaved/ takes them.
#pragma once

#include <algorithm>
#include <vector>

#include "lattice/cpu/interleaved/emissions.h"
#include "ops/cpu/lattice.h"

namespace gtnet::ops {

// Whether so many chains of frames share a graph that lanes of vectors are worth while.
template <class T>
bool share_a_graph(const LatticeBatch<T>& batch) {
  constexpr int64_t kFewest = 3;  // items
  return batch.is_chain && batch.num_graphs == 1 && batch.size >= kFewest;
}

template <class T>
std::vector<lattice::interleaved::Item<T>> longest_first(const LatticeBatch<T>& batch) {
  std::vector<lattice::interleaved::Item<T>> items;
  for (int64_t b = 0; b < batch.size; ++b) {
    items.push_back({b, static_cast<int32_t>(batch.lengths[b]),
                     batch.rows_of(b, batch.scores, batch.item_stride, batch.row_stride)});
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return a.length > b.length; });
  return items;
}

}  // namespace gtnet::ops
