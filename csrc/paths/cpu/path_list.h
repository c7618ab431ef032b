// Paths written out, several per graph.
#pragma once

#include <vector>

#include "core/topology.h"

namespace gtnet::paths {

struct Paths {
  std::vector<int32_t> arcs;         // of all paths, one after another
  std::vector<int64_t> lengths;      // arcs of each path
  std::vector<int32_t> first, last;  // end states; kNone for a path that was given up

  int64_t count() const { return static_cast<int64_t>(lengths.size()); }
};

}  // namespace gtnet::paths
