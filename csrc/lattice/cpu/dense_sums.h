// The sum of all paths of a chain of frames through a graph that is a matrix, in the probability
// domain: float64 numbers relative to a power of two that is moved along every few frames, before
// anything that is not 0 can become it. Where scores are too far apart for that nothing is found,
// and `LatticePass` has exponents for each number.
#pragma once

#include <cmath>

#include "core/extremes.h"
#include "core/interrupt.h"
#include "core/math.h"
#include "lattice/cpu/dense.h"

namespace gtnet::lattice {

// factor[k] = exp(factor[k] - top), top the largest; the range of what is not 0, infinite where a
// score is NaN, +inf or too large.
struct ExpFactors {
  int64_t count;
  double *factor, *top, *range;

  GTNET_INLINE void operator()() const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity(), kHighest = 0x1p107;
    SideBySide<double> most(kNegInf), least(kInfinity);
    int64_t wrong = 0;
    GTNET_SIMD(reduction(| : wrong))
    for (int64_t k = 0; k < count; ++k) wrong |= factor[k] < kHighest ? 0 : 1;
    in_lanes(count, [&](int64_t k, int i) __attribute__((always_inline)) {
      const double score = factor[k];
      most.raise(i, score);
      least.lower(i, score == kNegInf ? kInfinity : score);
    });
    const double best = most.largest(), shift = best == kNegInf ? 0 : best;
    *top = shift;
    *range = wrong != 0 ? kInfinity : best == kNegInf ? 0 : best - least.smallest();
    GTNET_SIMD()
    for (int64_t k = 0; k < count; ++k) factor[k] = exp_of<double>(factor[k] - shift);
  }
};

// The largest of some numbers and the least that is not 0.
struct Extremes {
  int32_t count;
  const double* numbers;
  double *most, *least;

  GTNET_INLINE void operator()() const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    SideBySide<double> high(0), low(kInfinity);
    in_lanes(count, [&](int64_t p, int i) __attribute__((always_inline)) {
      const double x = numbers[p];
      high.raise(i, x);
      low.lower(i, x == 0 ? kInfinity : x);
    });
    *most = high.largest();
    *least = low.smallest();
  }
};

// Scores as factors exp(score - top).
class Factors {
 public:
  double top = 0;
  bool usable = false;

  explicit Factors(int64_t size) : size_(size), factors_(size) {
    std::fill_n(factors_.begin(), size, kNegInf);
  }

  double* begin() const { return factors_.begin(); }  // scores until exponentiate()
  void exponentiate() {
    vectorized(ExpFactors{size_, factors_.begin(), &top, &range_});
    usable = range_ <= kWidest;
  }
  double range() const { return range_; }

  static constexpr double kWidest = 200;  // e^-200 is 2^-289

 private:
  int64_t size_;
  Aligned<double> factors_;
  double range_ = 0;
};

// The scores of a graph as factors.
class DenseFactors {
 public:
  const DenseTopology topology;
  Factors weights, start, accept;  // [width, width] (from, to), [width], [width]

  template <class Score>
  DenseFactors(DenseTopology given, const Score* of_arcs, const Score* of_start,
               const Score* of_accept)
      : topology(std::move(given)),
        weights(int64_t{topology.width} * topology.width),
        start(topology.width),
        accept(topology.width) {
    topology.each_arc([&](int32_t to, int32_t from, int32_t arc) {
      weights.begin()[int64_t{from} * topology.width + to] = static_cast<double>(of_arcs[arc]);
    });
    for (int32_t s = 0; s < topology.num_states; ++s) {
      start.begin()[s] = static_cast<double>(of_start[s]);
      accept.begin()[s] = static_cast<double>(of_accept[s]);
    }
    for (Factors* factors : {&weights, &start, &accept}) factors->exponentiate();
  }

  bool usable() const { return weights.usable && start.usable && accept.usable; }

  // Rows of arcs are better where few are there: paths reach some states with next to no chance.
  static bool suits(const DenseTopology& topology) {
    const auto arcs = std::count_if(topology.arc.begin(), topology.arc.end(),
                                    [](int32_t arc) { return arc != kNone; });
    return topology.width <= kMostStates && 2 * arcs >= int64_t(topology.arc.size());
  }

 private:
  static constexpr int32_t kMostStates = 64;  // the matrix fits into the nearest cache
};

// The score of an item, NaN where it is to be found in another way.
template <class Score>
double dense_score(const DenseFactors& graph, const Frames<Score>& frames) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN(), kLn2 = 0.69314718055994531;
  constexpr double kBits = 600;  // that a number may lose before all are scaled again
  const DenseTopology& topology = graph.topology;
  const int32_t width = topology.width, block = topology.block();
  const Aligned<double> all_values(int64_t{block + 1} * width), factors(int64_t{block} * width);
  double* const values = all_values.begin();
  std::copy_n(graph.start.begin(), width, values);
  double sum = graph.start.top, exponent = 0;
  for (int64_t t = 0; t < frames.count; t += block) {
    const auto count = static_cast<int32_t>(std::min<int64_t>(block, frames.count - t));
    poll(int64_t{count} * width * (8 + width / 8));
    double top = 0, range = 0;
    vectorized(ReadFrames<Score>{frames, t, count, width, topology.label.data(), factors.begin()});
    vectorized(ExpFactors{int64_t{count} * width, factors.begin(), &top, &range});
    if (!(range <= Factors::kWidest)) return kUnknown;
    sum += count * (top + graph.weights.top);
    const double bits = (range + graph.weights.range()) / kLn2 + std::log2(2.0 * width);
    const int32_t together = std::clamp(static_cast<int32_t>(kBits / bits), 1, count);
    for (int32_t s = 0; s < count; s += together) {
      const int32_t steps = std::min(together, count - s);
      vectorized(DenseSteps<PlusTimes>{width, steps, graph.weights.begin(),
                                       factors.begin() + int64_t{s} * width, values});
      const double* const last = values + int64_t{steps} * width;
      double most = 0, least = 0;
      vectorized(Extremes{width, last, &most, &least});
      if (most == 0 || least < most * 0x1p-300) return kUnknown;
      int64_t up = 0;
      extended::normalize<double>(most, up);
      const auto scale = extended::power_of_two<double>(-up);
      for (int32_t p = 0; p < width; ++p) values[p] = last[p] * scale;
      exponent += static_cast<double>(up);
    }
  }
  double total = 0;
  for (int32_t s = 0; s < width; ++s) total += values[s] * graph.accept.begin()[s];
  if (total == 0) return kNegInf;
  return std::log(total) + exponent * kLn2 + sum + graph.accept.top;
}

}  // namespace gtnet::lattice
