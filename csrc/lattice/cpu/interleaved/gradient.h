// The gradient of the forward score of interleaved items.
#pragma once

#include "core/interrupt.h"
#include "lattice/cpu/interleaved/checkpoints.h"
#include "lattice/cpu/interleaved/expected_counts.h"

namespace gtnet::lattice::interleaved {

// totals[label] = sum of kept * near * sums * far over the positions that it leads to.
template <class T, int L>
struct Meet {
  int32_t num_labels;
  const int32_t *label_begin, *position;
  const T *kept, *near, *sums, *far;
  T *totals, *all;

  GTNET_INLINE void operator()() const {
    Vector<T, L> near_scale, far_scale, every{}, total, x, y;
    fetch(near_scale, near);
    fetch(far_scale, far);
    for (int32_t l = 1; l < num_labels; ++l) {
      total = Vector<T, L>{};
      for (int32_t k = label_begin[l]; k < label_begin[l + 1]; ++k) {
        fetch(x, kept + int64_t{position[k]} * L);
        fetch(y, sums + int64_t{position[k]} * L);
        total += (x * near_scale) * (y * far_scale);
      }
      every += total;
      put(total, totals + int64_t{l} * L);
    }
    put(every, all);
  }
};

// What a gradient is written into, and what multiplies it.
template <class T, int L>
struct Output {
  T* scores[L];
  int64_t row_stride;
  T grad[L];
  bool active[L];  // items not to be done alone
};

// Where the gradients of a graph's scores are added up.
struct ArcGradient {
  double *weights, *start, *accept;
};

// One of the walks from the middle on to the other end.
template <class T, int L>
class Gradient {
 public:
  Gradient(const Graph<T>& graph, const Items<T, L>& items, const Kept<T, L>& kept,
           const Output<T, L>& out, bool forth, bool counting)
      : graph_(graph),
        items_(items),
        kept_(kept),
        out_(out),
        forth_(forth),
        counting_(counting),
        walk_(graph, items, forth),
        past_(graph, items, kept, !forth),
        reading_(walk_.reading(), graph.steps.num_positions, counting),
        epsilon_(walk_.epsilon(), graph.steps.num_positions, counting),
        totals_(int64_t{graph.steps.num_labels} * L),
        begun_(counting ? graph.start.values.size() : 0, 0.0),
        ended_(counting ? graph.accept.values.size() : 0, 0.0) {}

  void run() {
    const Plan& plan = kept_.plan;
    const int32_t middle = plan.last(forth_), last = forth_ ? plan.longest : 0;
    const Aligned<T> values(2 * kept_.size);
    const T* from = nullptr;
    if (plan.kept(forth_) > 0) {
      walk_.state = kept_.restore(middle);
      from = kept_.at(forth_, middle);
    }
    for (int32_t cut = walk_.next(middle); forth_ ? cut <= last : cut >= last;
         cut = walk_.next(cut)) {
      T* const to = values.begin() + cut % 2 * kept_.size;
      poll(16 * kept_.size);
      pass(cut, from, to);
      from = to;
    }
  }

  // Whether something was lost on an active item; then it, and what is collected, is of no use.
  bool failed(int item) const { return out_.active[item] && walk_.failed[item]; }

  void collect(const ArcGradient& sums) {
    reading_.collect(sums.weights);
    epsilon_.collect(sums.weights);
    for (size_t s = 0; s < begun_.size(); ++s) {
      sums.start[s] += begun_[s];
      sums.accept[s] += ended_[s];
    }
  }

 private:
  static constexpr double kTolerance = 1e-4;
  const Graph<T>& graph_;
  const Items<T, L>& items_;
  const Kept<T, L>& kept_;
  const Output<T, L>& out_;
  const bool forth_, counting_;
  Walk<T, L> walk_;
  Past<T, L> past_;
  ArcCounter<T, L> reading_, epsilon_;
  Aligned<T> totals_;
  std::vector<double> begun_, ended_;  // [states] grad * how often a path begins and ends there

  // Scales whose product is 2^exponent / total; 0 where an item takes no part.
  struct Scales {
    T near[L] = {}, far[L] = {};
  };

  Scales scales(int32_t cut) {
    Scales result;
    for (int i = 0; i < items_.count; ++i) {
      if (!out_.active[i] || cut > items_.length[i]) continue;
      const double sum = walk_.state.exponent[i] + kept_.exponents(cut)[i] - kept_.total_e()[i];
      if (!(sum <= static_cast<double>(ExponentRange<T>::kMeeting))) walk_.failed[i] = 1;
      const auto exponent = static_cast<Exponent<T>>(std::min(sum, 0.0));
      result.far[i] = extended::power_of_two<T>(exponent / 2);
      result.near[i] =
          extended::power_of_two<T>(exponent - exponent / 2) / static_cast<T>(kept_.total_m()[i]);
    }
    return result;
  }

  void pass(int32_t cut, const T* from, T* to) {
    const T* const sums = walk_.sum(cut, from);
    const T* const kept = past_.at(cut);
    Scales here = scales(cut);
    if (cut > 0) spread(cut - 1, kept, sums, here);
    // Both walks step over the frame behind the middle.
    if (counting_ && (forth_ || cut < kept_.plan.middle)) {
      for (int i = 0; i < L; ++i) here.near[i] *= out_.grad[i];
      reading_.add(kept, here.near, from, here.far);
    }
    if (counting_ && cut == 0) {
      for (int i = 0; i < items_.count; ++i) {
        end(i, begun_, graph_.start, sums, walk_.state.exponent[i]);
      }
    }
    walk_.emit(cut, to);
    if (!counting_) return;
    if (!walk_.epsilon().blocks().empty()) {
      Scales after = scales(cut);
      for (int i = 0; i < L; ++i) after.near[i] *= out_.grad[i];
      epsilon_.add(kept, after.near, to, after.far);
    }
    for (int i = 0; i < items_.count; ++i) {
      if (items_.length[i] != cut) continue;
      forth_ ? end(i, ended_, graph_.accept, to, walk_.state.exponent[i])
             : end(i, ended_, graph_.accept, kept, kept_.exponents(cut)[i]);
    }
  }

  // All paths go through a frame: the probabilities of its labels are made to add up to 1, and the
  // scales with them.
  void spread(int32_t frame, const T* kept, const T* sums, Scales& scales) {
    const layout::TransitionRows& steps = graph_.steps;
    T all[L], share[L];
    T* rows[L];
    vectorized(Meet<T, L>{steps.num_labels, graph_.label_begin.data(), graph_.position.data(), kept,
                          scales.near, sums, scales.far, totals_.begin(), all});
    for (int i = 0; i < L; ++i) {
      const bool inside = out_.active[i] && frame < items_.length[i];
      rows[i] = inside ? out_.scores[i] + frame * out_.row_stride : nullptr;
      share[i] = out_.grad[i] / all[i];
      if (inside) scales.near[i] /= all[i];
      if (inside && !(std::abs(static_cast<double>(all[i]) - 1) < kTolerance)) walk_.failed[i] = 1;
    }
    vectorized(Spread<T, L>{steps.num_labels, steps.labels, totals_.begin(), share, rows,
                            items_.row_size});
  }

  // Counts how often an item begins or ends in each state, given the sums on the other side.
  void end(int i, std::vector<double>& counts, const Ends<T>& ends, const T* sums,
           double exponent) const {
    if (!out_.active[i]) return;
    const double e = exponent + static_cast<double>(ends.exponent) - kept_.total_e()[i];
    const double half = std::exp2(e / 2), near = half / kept_.total_m()[i] * out_.grad[i];
    for (size_t s = 0; s < ends.values.size(); ++s) {
      counts[s] += static_cast<double>(ends.values[s]) * near *
                   (static_cast<double>(sums[s * L + i]) * half);
    }
  }
};

}  // namespace gtnet::lattice::interleaved
