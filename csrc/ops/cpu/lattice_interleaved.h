// The batches whose items are interleaved: chains of frames that share a graph of many arcs.
#pragma once

#include <numeric>

#include "lattice/cpu/interleaved/group.h"
#include "ops/cpu/lattice_interleaved_items.h"

namespace gtnet::ops {

template <class T>
class InterleavedBatch {
 public:
  // Nothing where items are better done alone.
  static std::unique_ptr<InterleavedBatch> of(const LatticeBatch<T>& batch) {
    if (!share_a_graph(batch)) return {};
    const lattice::LatticeItem<T> item = batch.item(0);
    const layout::SlicedRows& rows = item.steps.entering;
    if (rows.num_entries == 0 || rows.num_entries < kEntries * rows.num_slices) return {};
    auto result = std::make_unique<InterleavedBatch>(batch, item);
    return result->graph_.usable() ? std::move(result) : nullptr;
  }

  InterleavedBatch(const LatticeBatch<T>& batch, const lattice::LatticeItem<T>& item)
      : graph_(item), work_(batch.work()) {
    const std::vector<lattice::interleaved::Item<T>> items = longest_first(batch);
    const bool keep_all =
        work_ <= std::max(kKeptPositions, batch.size * batch.num_rows * batch.num_labels);
    const bool sixteen = lattice::interleaved::registers_are_long();
    for (int64_t first = 0; first < batch.size;) {
      first += sixteen && batch.size - first > 8 ? add<16>(batch, items, first, keep_all)
                                                 : add<8>(batch, items, first, keep_all);
    }
  }

  // Numbers kept between score and gradient, and what is to be known about them.
  int64_t num_values() const { return total(&lattice::interleaved::Group<T>::num_values); }
  int64_t num_about() const { return total(&lattice::interleaved::Group<T>::num_about); }

  // The score of each item, NaN where it is to be done alone.
  void score(T* values, double* about, double* scores) const {
    keep(values, about);
    each_half([&](lattice::interleaved::Group<T>& group, bool forth) { group.score(forth); });
    for (const auto& group : groups_) group->join(scores);
  }

  // Gradients of the sum of grad * score, for the items that `done` names in the end: into
  // rows[item] and, where counting, added to the sums.
  void differentiate(T* values, double* about, const double* grad, T* const* rows,
                     int64_t row_stride, bool counting,
                     const lattice::interleaved::ArcGradient& sums, char* done) const {
    keep(values, about);
    for (const auto& group : groups_) group->aim(rows, row_stride, grad, counting);
    each_half(
        [&](lattice::interleaved::Group<T>& group, bool forth) { group.differentiate(forth); });
    for (const auto& group : groups_) group->collect(sums, done);
  }

 private:
  static constexpr int32_t kEntries = 4;  // of an average row

  lattice::interleaved::Graph<T> graph_;
  int64_t work_;  // positions of all cuts
  std::vector<std::unique_ptr<lattice::interleaved::Group<T>>> groups_;

  // A group of up to L items; returns how many.
  template <int L>
  int64_t add(const LatticeBatch<T>& batch, const std::vector<lattice::interleaved::Item<T>>& items,
              int64_t first, bool keep_all) {
    const auto count = static_cast<int>(std::min<int64_t>(L, batch.size - first));
    const lattice::interleaved::Item<T>* const begin = items.data() + first;
    const lattice::interleaved::Items<T, L> frames(begin, count, batch.row_stride,
                                                   batch.num_labels);
    groups_.push_back(
        std::make_unique<lattice::interleaved::GroupOf<T, L>>(graph_, begin, frames, keep_all));
    return count;
  }

  int64_t total(int64_t (lattice::interleaved::Group<T>::*number)() const) const {
    int64_t sum = 0;
    for (const auto& group : groups_) sum += (*group.*number)();
    return sum;
  }

  void keep(T* values, double* about) const {
    for (const auto& group : groups_) {
      group->keep(values, about);
      values += group->num_values();
      about += group->num_about();
    }
  }

  // functor(group, forth) for both ways of every group, on threads.
  template <class Functor>
  void each_half(const Functor& functor) const {
    const auto ways = static_cast<int64_t>(2 * groups_.size());
    for_each_graph(ways, work_, [&](int64_t k) { functor(*groups_[k / 2], k % 2 == 1); });
  }
};

// Scores, NaN where an item is to be done alone, and what is left for the gradient.
template <class Score>
SavedForBackward score_interleaved(const InterleavedBatch<Score>& items, const Tensor& scores,
                                   double* score) {
  const SavedForBackward left{empty<Score>(scores, items.num_values()),
                              empty<Exponent<Score>>(scores, 0),
                              empty<double>(scores, items.num_about())};
  expect_writes(left.alpha_m, left.alpha_m.numel() * static_cast<int64_t>(sizeof(Score)));
  items.score(output<Score>(left.alpha_m), output<double>(left.offset), score);
  return left;
}

// Gradients of interleaved items, added up, and which items these are.
struct SharedSums {
  std::vector<double> weights, start, accept;
  std::vector<char> done;  // [items]
};

template <class Score>
SharedSums differentiate_interleaved(const InterleavedBatch<Score>& items,
                                     const LatticeBatch<Score>& batch, const double* grad_score,
                                     const SavedForBackward& left, const Tensor& grad_scores,
                                     bool counting) {
  SharedSums sums;
  sums.weights.resize(counting ? batch.num_arcs(0) : 0);
  sums.start.resize(counting ? batch.num_states(0) : 0);
  sums.accept.resize(counting ? batch.num_states(0) : 0);
  sums.done.resize(batch.size);
  Score* const grads = output<Score>(grad_scores);
  const int64_t item_stride = grad_scores.stride(0), stride = grad_scores.stride(1);
  std::vector<Score*> rows;
  for (int64_t b = 0; b < batch.size; ++b) {
    rows.push_back(grads + b * item_stride);
    clear_behind(batch, b, rows[b], stride);
  }
  items.differentiate(
      output<Score>(left.alpha_m), output<double>(left.offset), grad_score, rows.data(), stride,
      counting, {sums.weights.data(), sums.start.data(), sums.accept.data()}, sums.done.data());
  return sums;
}

}  // namespace gtnet::ops
