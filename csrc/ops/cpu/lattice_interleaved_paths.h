// The best paths of chains of frames that share a graph, side by side in the lanes of vectors.
#pragma once

#include <vector>

#include "lattice/cpu/predecessors.h"
#include "ops/cpu/lattice.h"

namespace gtnet::ops {

// The best path of every item, or nothing where items are better done alone.
template <class Score>
std::vector<lattice::LatticePath> paths_together(const LatticeBatch<Score>& batch,
                                                 const Tensor& like);

}  // namespace gtnet::ops
