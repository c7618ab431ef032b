// The chains of a batch whose graphs are matrices.
#pragma once

#include <memory>

#include "lattice/cpu/dense_sums.h"
#include "lattice/cpu/dense_viterbi.h"
#include "ops/cpu/lattice.h"

namespace gtnet::ops {

// The graphs of a batch as matrices of one kind: that of an only graph made once, others where they
// are asked for.
template <class Score, class Matrix>
class DenseGraphs {
 public:
  explicit DenseGraphs(const LatticeBatch<Score>& batch) : batch_(batch) {
    if (batch.is_chain && batch.num_graphs == 1 && batch.size > 0) only_ = matrix(0);
  }

  // Whether all items share a matrix.
  bool only() const { return only_ != nullptr; }

  // functor(matrix, frames) of an item, if its graph is worth a matrix; whether it is.
  template <class Functor>
  bool with(int64_t b, const Functor& functor) const {
    if (!batch_.is_chain) return false;
    const std::unique_ptr<Matrix> own = batch_.num_graphs == 1 ? nullptr : matrix(b);
    const Matrix* const found = own ? own.get() : only_.get();
    if (found == nullptr) return false;
    count(Driver::kDense);
    functor(*found, lattice::Frames<Score>{
                        batch_.rows_of(b, batch_.scores, batch_.item_stride, batch_.row_stride),
                        batch_.lengths[b], batch_.row_stride, batch_.num_labels});
    return true;
  }

 private:
  const LatticeBatch<Score>& batch_;
  std::unique_ptr<Matrix> only_;

  std::unique_ptr<Matrix> matrix(int64_t b) const {
    const auto num_states = static_cast<int32_t>(batch_.num_states(b));
    const layout::TransitionRows steps = batch_.steps(b);
    if (!lattice::DenseTopology::suits(steps, num_states)) return {};
    lattice::DenseTopology topology(steps, num_states);
    if (!topology.usable || !Matrix::suits(topology)) return {};
    const int64_t g = batch_.graph(b), s = batch_.state_offsets[g], a = batch_.arc_offsets[g];
    auto made = std::make_unique<Matrix>(std::move(topology), batch_.weights + a, batch_.start + s,
                                         batch_.accept + s);
    return made->usable() ? std::move(made) : nullptr;
  }
};

}  // namespace gtnet::ops
