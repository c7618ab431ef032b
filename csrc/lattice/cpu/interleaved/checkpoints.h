// What the two walks of a group of items abreast keep for each other.
#pragma once

#include "lattice/cpu/interleaved/walk.h"

namespace gtnet::lattice::interleaved {

// Which cuts the two walks keep: every so many from the middle on.
struct Plan {
  int32_t longest, middle, stride;

  Plan(int32_t longest_, bool keep_all) : longest(longest_), middle(longest_ / 2), stride(1) {
    while (!keep_all && stride * stride < middle) ++stride;
  }

  int32_t last(bool forth) const { return forth ? middle : middle + 1; }  // of the first halves
  int32_t distance(bool forth, int32_t cut) const {
    return forth ? middle - cut : cut - middle - 1;
  }
  int32_t farthest(bool forth) const { return distance(forth, forth ? 0 : longest); }
  int64_t kept(bool forth) const { return farthest(forth) < 0 ? 0 : farthest(forth) / stride + 1; }
  bool is_kept(bool forth, int32_t cut) const { return distance(forth, cut) % stride == 0; }
  int64_t place(bool forth, int32_t cut) const {
    return distance(forth, cut) / stride + (forth ? 0 : kept(true));
  }
};

// What is kept of a group of items between the score and its gradient.
template <class T, int L>
struct Kept {
  Plan plan;
  int64_t size;   // of the values of a cut
  T* values;      // [cuts kept, size]
  double* about;  // the state of both walks at each cut, then the totals

  int64_t num_values() const { return (plan.kept(true) + plan.kept(false)) * size; }
  int64_t num_about() const { return (int64_t{plan.longest} + 1) * 2 * L + 4 * L; }

  T* at(bool forth, int32_t cut) const { return values + plan.place(forth, cut) * size; }

  void save(int32_t cut, const WalkState<T, L>& state) const {
    for (int i = 0; i < L; ++i) {
      exponents(cut)[i] = state.exponent[i];
      exponents(cut)[L + i] = static_cast<double>(state.most[i]);
    }
  }
  WalkState<T, L> restore(int32_t cut) const {
    WalkState<T, L> state;
    for (int i = 0; i < L; ++i) {
      state.exponent[i] = exponents(cut)[i];
      state.most[i] = static_cast<T>(exponents(cut)[L + i]);
    }
    return state;
  }
  double* exponents(int32_t cut) const { return about + int64_t{cut} * 2 * L; }

  // The sum of all paths of each item, m * 2^e, relative to the tops of its emissions; m = 0 where
  // the item is to be done alone. And the tops that each walk has added up, NaN if it failed.
  double* total_m() const { return exponents(plan.longest + 1); }
  double* total_e() const { return total_m() + L; }
  double* tops(bool forth) const { return total_m() + (forth ? 2 : 3) * L; }
};

// What a walk passed on its first half, from the middle on outwards, computed again where it was
// not kept.
template <class T, int L>
class Past {
 public:
  Past(const Graph<T>& graph, const Items<T, L>& items, const Kept<T, L>& kept, bool forth)
      : kept_(kept),
        forth_(forth),
        again_(graph, items, forth),
        block_(kept.plan.stride > 1 ? kept.plan.stride * kept.size : 0) {}

  const T* at(int32_t cut) {
    const Plan& plan = kept_.plan;
    if (plan.is_kept(forth_, cut)) return kept_.at(forth_, cut);
    const int32_t distance = plan.distance(forth_, cut), block = distance / plan.stride;
    if (block != held_) fill(block);
    return block_.begin() + distance % plan.stride * kept_.size;
  }

 private:
  const Kept<T, L>& kept_;
  const bool forth_;
  Walk<T, L> again_;
  Aligned<T> block_;
  int32_t held_ = -1;

  void fill(int32_t block) {
    const Plan& plan = kept_.plan;
    const int32_t begin = std::min((block + 1) * plan.stride, plan.farthest(forth_));
    const T* from = nullptr;
    int32_t distance = begin;
    if (begin == (block + 1) * plan.stride) {
      const int32_t cut = forth_ ? plan.middle - begin : plan.middle + 1 + begin;
      again_.state = kept_.restore(cut);
      from = kept_.at(forth_, cut);
      --distance;
    } else {
      again_.state = {};
    }
    for (; distance > block * plan.stride; --distance) {
      const int32_t cut = forth_ ? plan.middle - distance : plan.middle + 1 + distance;
      T* const to = block_.begin() + distance % plan.stride * kept_.size;
      again_.sum(cut, from);
      again_.emit(cut, to);
      from = to;
    }
    held_ = block;
  }
};

}  // namespace gtnet::lattice::interleaved
