// One step after another along the cuts of interleaved items, forth or back. Both ways a value is
// the sum over the paths on that side of a cut, the emission of the frame before the cut included:
//   value_c(p) = emission_c(label p) * sum over arcs between p and q of weight * value_c'(q),
// c' the cut before or after, so what leads to p on one way times what comes after it is
//   sum_c(p) * value_c(p)
// of one way and the other, and how often a path takes an arc is the product of weight and values.
#pragma once

#include "lattice/cpu/cut_sums.h"
#include "lattice/cpu/interleaved/emissions.h"

namespace gtnet::lattice::interleaved {

// number[k] = exp(scores[k])
template <class T>
struct ExpScores {
  int64_t count;
  const T* scores;
  Numbers<T> numbers;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int64_t k = 0; k < count; ++k) {
      extended::exp(static_cast<double>(scores[k]), numbers.m[k], numbers.e[k]);
    }
  }
};

// Scores to begin or end with: values[state] * 2^exponent.
template <class T>
struct Ends {
  bool usable = true;
  Exponent<T> exponent = 0;
  std::vector<T> values;  // [states]

  Ends(const T* scores, int32_t num_states) : values(num_states, T{0}) {
    const Array<T> array = Array<T>::unwritten(num_states);
    const Numbers<T> numbers = array.begin();
    vectorized(ExpScores<T>{num_states, scores, numbers});
    Exponent<T> most = extended::Limits<T>::kZero, least = -extended::Limits<T>::kZero;
    for (int32_t s = 0; s < num_states; ++s) {
      if (numbers.m[s] == 0) continue;
      most = std::max(most, numbers.e[s]);
      least = std::min(least, numbers.e[s]);
    }
    if (most < least) return;
    usable = most - least < ExponentRange<T>::kUsual - ExponentRange<T>::kLowest;
    exponent = most - ExponentRange<T>::kUsual;
    for (int32_t s = 0; s < num_states && usable; ++s) {
      if (numbers.m[s] != 0)
        values[s] = numbers.m[s] * extended::power_of_two<T>(numbers.e[s] - exponent);
    }
  }
};

// The scores of a graph, laid out for interleaved items.
template <class T>
struct Graph {
  const layout::TransitionRows steps;
  Rows<T> entering, leaving, epsilon_entering, epsilon_leaving;
  Ends<T> start, accept;
  std::vector<int32_t> label_begin, position;  // [labels + 1], the positions that each leads to

  explicit Graph(const LatticeItem<T>& item)
      : Graph(item, exponentials(item.weights, item.num_arcs)) {}

  bool usable() const {
    return entering.usable && epsilon_entering.usable && start.usable && accept.usable;
  }

 private:
  static Array<T> exponentials(const T* scores, int64_t count) {
    Array<T> numbers = Array<T>::unwritten(count);
    vectorized(ExpScores<T>{count, scores, numbers.begin()});
    return numbers;
  }

  Graph(const LatticeItem<T>& item, const Array<T>& arcs)
      : steps(item.steps),
        entering(steps.entering, steps.num_positions, arcs.begin(), false),
        leaving(steps.leaving, steps.num_positions, arcs.begin(), false),
        epsilon_entering(steps.epsilon_entering, steps.num_positions, arcs.begin(), true),
        epsilon_leaving(steps.epsilon_leaving, steps.num_positions, arcs.begin(), true),
        start(item.start, item.num_states),
        accept(item.accept, item.num_states),
        label_begin(steps.num_labels + 1, 0) {
    for (int32_t p = 0; p < steps.num_positions; ++p) ++label_begin[steps.label[p] + 1];
    for (int32_t l = 0; l < steps.num_labels; ++l) label_begin[l + 1] += label_begin[l];
    std::vector<int32_t> next(label_begin.begin(), label_begin.end() - 1);
    position.resize(steps.num_positions);
    for (int32_t p = 0; p < steps.num_positions; ++p) position[next[steps.label[p]]++] = p;
  }
};

// The largest of some values, and the least of some that is not 0, in parts of W of L items.
template <class T, int L, int W>
struct Extremes {
  using Part = Vector<T, W>;
  Part largest[L / W], smallest[L / W];

  GTNET_INLINE Extremes() {
    for (int i = 0; i < L / W; ++i) largest[i] = Part{}, smallest[i] = Part{} + kNone;
  }
  GTNET_INLINE void take(int i, const Part& value, const Part& least) {
    largest[i] = value > largest[i] ? value : largest[i];
    const Part none = Part{} + kNone, possible = least > 0 ? least : none;
    smallest[i] = possible < smallest[i] ? possible : smallest[i];
  }
  GTNET_INLINE void write(T* most, T* least) const {
    for (int i = 0; i < L / W; ++i) put(largest[i], most + i * W), put(smallest[i], least + i * W);
  }

 private:
  static constexpr T kNone = std::numeric_limits<T>::max();
};

// values = sums * factor of their label; the largest value, and the smallest sum that is not 0.
template <class T, int L, int W>
struct Emit {
  int32_t num_positions;
  const int32_t* label;
  const T *sums, *factor;
  T *values, *most, *least;

  GTNET_INLINE void operator()() const {
    Extremes<T, L, W> extremes;
    for (int32_t p = 0; p < num_positions; ++p) {
      for (int i = 0; i < L / W; ++i) {
        Vector<T, W> sum, x;
        fetch(sum, sums + int64_t{p} * L + i * W);
        fetch(x, factor + int64_t{label[p]} * L + i * W);
        x *= sum;
        put(x, values + int64_t{p} * L + i * W);
        extremes.take(i, x, sum);
      }
    }
    extremes.write(most, least);
  }
};

// The largest value, and the smallest that is not 0.
template <class T, int L, int W>
struct Extent {
  int32_t num_positions;
  const T* values;
  T *most, *least;

  GTNET_INLINE void operator()() const {
    Extremes<T, L, W> extremes;
    for (int32_t p = 0; p < num_positions; ++p) {
      for (int i = 0; i < L / W; ++i) {
        Vector<T, W> x;
        fetch(x, values + int64_t{p} * L + i * W);
        extremes.take(i, x, x);
      }
    }
    extremes.write(most, least);
  }
};

// Where a walk is: what its values are relative to, and the largest of them.
template <class T, int L>
struct WalkState {
  double exponent[L] = {};
  T most[L] = {};
};

// A walk in one direction.
template <class T, int L>
class Walk {
 public:
  WalkState<T, L> state;
  double tops[L] = {};     // sums of what emissions are relative to
  int32_t failed[L] = {};  // items for which something may be lost

  Walk(const Graph<T>& graph, const Items<T, L>& items, bool forth)
      : graph_(graph), items_(items), forth_(forth), frame_(graph.steps, items), sums_(size()) {}

  int64_t size() const { return int64_t{graph_.steps.num_positions} * L; }
  const Rows<T>& reading() const { return forth_ ? graph_.entering : graph_.leaving; }
  const Rows<T>& epsilon() const {
    return forth_ ? graph_.epsilon_entering : graph_.epsilon_leaving;
  }
  int32_t first() const { return forth_ ? 0 : items_.longest(); }
  int32_t next(int32_t cut) const { return forth_ ? cut + 1 : cut - 1; }

  // Whether every item has failed.
  bool in_vain() const {
    return std::all_of(failed, failed + items_.count, [](int32_t one) { return one != 0; });
  }

  // Sums at a cut without its emission, from the values at the cut before on this way; null at the
  // first. Their exponents are those of the state.
  const T* sum(int32_t cut, const T* from) {
    if (from == nullptr) {
      std::fill_n(sums_.begin(), size(), T{0});
    } else {
      multiply<L, false>(reading(), from, sums_.begin());
      for (double& e : state.exponent) e += static_cast<double>(reading().top);
    }
    for (int i = 0; i < items_.count; ++i) {
      if (cut == (forth_ ? 0 : items_.length[i])) begin(i);
    }
    if (!forth_) multiply<L, true>(epsilon(), sums_.begin(), sums_.begin());
    return sums_.begin();
  }

  // Values at the cut of these sums.
  void emit(int32_t cut, T* to) {
    const layout::TransitionRows& steps = graph_.steps;
    T lift[L], least[L];
    for (int i = 0; i < L; ++i) {
      T m = state.most[i];
      Exponent<T> e = 0;
      extended::normalize(m, e);
      const Exponent<T> up =
          m == 0 ? 0 : std::min(ExponentRange<T>::kUsual - e, ExponentRange<T>::kMostLift);
      lift[i] = extended::power_of_two<T>(up);
      state.exponent[i] -= static_cast<double>(up);
    }
    cut > 0 ? frame_.read(cut - 1, lift) : frame_.pass(lift);
    in_registers<T, L>([&](auto width) {
      vectorized(Emit<T, L, width()>{steps.num_positions, steps.label, sums_.begin(),
                                     frame_.factors(), to, state.most, least});
    });
    for (int i = 0; i < L; ++i) {
      tops[i] += static_cast<double>(frame_.top[i]);
      failed[i] |= frame_.wrong[i];
      check(i, least[i] * frame_.least[i]);
    }
    if (!forth_ || epsilon().blocks().empty()) return;
    multiply<L, true>(epsilon(), to, to);
    in_registers<T, L>([&](auto width) {
      vectorized(Extent<T, L, width()>{steps.num_positions, to, state.most, least});
    });
    for (int i = 0; i < L; ++i) check(i, least[i]);
  }

 private:
  const Graph<T>& graph_;
  const Items<T, L>& items_;
  const bool forth_;
  FrameEmissions<T, L> frame_;
  Aligned<T> sums_;

  void begin(int item) {
    const Ends<T>& ends = forth_ ? graph_.start : graph_.accept;
    state.exponent[item] = static_cast<double>(ends.exponent);
    for (size_t s = 0; s < ends.values.size(); ++s) {
      sums_.begin()[s * L + item] = ends.values[s];
    }
  }

  void check(int item, T least) {
    const bool within = least >= extended::power_of_two<T>(ExponentRange<T>::kLowest) &&
                        state.most[item] < extended::power_of_two<T>(ExponentRange<T>::kHighest);
    failed[item] |= within ? 0 : 1;
  }
};

}  // namespace gtnet::lattice::interleaved
