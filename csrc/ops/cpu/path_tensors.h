// The paths of a batch of graphs as tensors.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/tensors.h"
#include "paths/cpu/path_list.h"

namespace gtnet::ops {

inline PackedPaths packed(const std::vector<paths::Paths>& found, const Tensor& like) {
  int64_t num_paths = 0, num_arcs = 0;
  for (const paths::Paths& paths : found) {
    num_paths += paths.count();
    num_arcs += static_cast<int64_t>(paths.arcs.size());
  }
  Tensor counts = empty<int64_t>(like, static_cast<int64_t>(found.size()));
  Tensor lengths = empty<int64_t>(like, num_paths), path_arcs = empty<int32_t>(like, num_arcs);
  Tensor first = empty<int32_t>(like, num_paths), last = empty<int32_t>(like, num_paths);
  int64_t *count = output<int64_t>(counts), *length = output<int64_t>(lengths);
  int32_t* arc = output<int32_t>(path_arcs);
  int32_t *head = output<int32_t>(first), *tail = output<int32_t>(last);
  for (const paths::Paths& paths : found) {
    *count++ = paths.count();
    length = std::copy(paths.lengths.begin(), paths.lengths.end(), length);
    arc = std::copy(paths.arcs.begin(), paths.arcs.end(), arc);
    head = std::copy(paths.first.begin(), paths.first.end(), head);
    tail = std::copy(paths.last.begin(), paths.last.end(), tail);
  }
  return {counts, lengths, path_arcs, first, last};
}

// The same; graphs whose search used up its budget have a count of -1 and no paths.
inline PackedPaths packed(const std::vector<paths::Paths>& found, const std::vector<char>& too_many,
                          const Tensor& like) {
  PackedPaths result = packed(found, like);
  for (size_t g = 0; g < found.size(); ++g) {
    if (too_many[g]) output<int64_t>(std::get<0>(result))[g] = -1;
  }
  return result;
}

}  // namespace gtnet::ops
