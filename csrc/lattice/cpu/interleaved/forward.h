// The forward score of interleaved items: two walks, from the first cut forth and from the last one
// back, meet in the middle. Each may then go on to the other end through what the other one kept on
// its way, which gives the gradient (lattice/cpu/interleaved/gradient.h). So two threads share the
// work of a group of items, and nothing is computed twice but what was too much to keep.
#pragma once

#include "core/interrupt.h"
#include "lattice/cpu/interleaved/checkpoints.h"

namespace gtnet::lattice::interleaved {

template <class T, int L>
class ForwardScore {
 public:
  ForwardScore(const Graph<T>& graph, const Items<T, L>& items, const Kept<T, L>& kept)
      : graph_(graph), items_(items), kept_(kept) {}

  // One of the walks up to the middle. Those forth and back may run side by side.
  void half(bool forth) const {
    const Plan& plan = kept_.plan;
    Walk<T, L> walk(graph_, items_, forth);
    const Aligned<T> spare(plan.stride > 1 ? 2 * kept_.size : 0);
    const T* from = nullptr;
    if (forth) std::fill_n(kept_.total_m(), L, 0.0);
    for (int32_t cut = walk.first(); plan.distance(forth, cut) >= 0 && !walk.in_vain();
         cut = walk.next(cut)) {
      T* const to =
          plan.is_kept(forth, cut) ? kept_.at(forth, cut) : spare.begin() + cut % 2 * kept_.size;
      poll(8 * kept_.size);
      walk.sum(cut, from);
      walk.emit(cut, to);
      kept_.save(cut, walk.state);
      for (int i = 0; i < items_.count && forth; ++i) {
        if (items_.length[i] == cut) finish(i, to, walk.state.exponent[i]);
      }
      from = to;
    }
    for (int i = 0; i < L; ++i) {
      kept_.tops(forth)[i] =
          walk.failed[i] ? std::numeric_limits<double>::quiet_NaN() : walk.tops[i];
    }
  }

  // The score of each item after both, NaN where it is to be done alone.
  void join(double* score) const {
    const Plan& plan = kept_.plan;
    if (plan.longest > plan.middle) meet();
    for (int i = 0; i < items_.count; ++i) {
      const double m = kept_.total_m()[i], tops = kept_.tops(true)[i] + kept_.tops(false)[i];
      score[i] = std::log(m) + kept_.total_e()[i] * kLn2 + tops;
      if (m > 0 && std::isfinite(score[i])) continue;
      kept_.total_m()[i] = 0;
      score[i] = std::numeric_limits<double>::quiet_NaN();
    }
  }

 private:
  static constexpr double kLn2 = 0.69314718055994530942;
  const Graph<T>& graph_;
  const Items<T, L>& items_;
  const Kept<T, L>& kept_;

  // The total of items that end before the middle is that of their last cut.
  void finish(int i, const T* values, double exponent) const {
    const Ends<T>& accept = graph_.accept;
    double sum = 0;
    for (size_t s = 0; s < accept.values.size(); ++s) {
      sum += product(values[s * L + i], accept.values[s]);
    }
    total(i, sum, exponent + static_cast<double>(accept.exponent));
  }

  // That of the others is what leads to the cut behind the middle times what comes after it.
  void meet() const {
    const Plan& plan = kept_.plan;
    const int32_t cut = plan.middle + 1;
    Walk<T, L> walk(graph_, items_, true);
    walk.state = kept_.restore(plan.middle);
    const T *const sums = walk.sum(cut, kept_.at(true, plan.middle)), *const values =
                                                                          kept_.at(false, cut);
    double sum[L] = {};
    for (int64_t p = 0; p < kept_.size; p += L) {
      for (int i = 0; i < L; ++i) sum[i] += product(sums[p + i], values[p + i]);
    }
    for (int i = 0; i < items_.count; ++i) {
      if (items_.length[i] < cut) continue;
      total(i, sum[i], walk.state.exponent[i] + kept_.exponents(cut)[i]);
    }
  }

  // Two values multiplied without overflow, relative to 2^(2 kUsual).
  static double product(T a, T b) {
    const T down = extended::power_of_two<T>(-ExponentRange<T>::kUsual);
    return static_cast<double>(a * down) * static_cast<double>(b * down);
  }

  // m = 0 where the sum is so small that something may be missing from it.
  void total(int i, double sum, double exponent) const {
    int e = 0;
    const double m = std::frexp(sum, &e);
    const double relative = static_cast<double>(e) + 2.0 * ExponentRange<T>::kUsual;
    kept_.total_m()[i] = relative >= -static_cast<double>(ExponentRange<T>::kMeeting) ? m : 0;
    kept_.total_e()[i] = exponent + relative;
  }
};

}  // namespace gtnet::lattice::interleaved
