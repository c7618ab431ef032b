// Paths drawn at random, one choice after another: with to_end the log-sum of what follows a state,
//   P(first state s) ~ exp(start[s] + to_end[s]),   P(end | state s) ~ exp(accept[s] - to_end[s]),
//   P(arc | state s) ~ exp(weight[arc] + to_end[target of arc] - to_end[s]),
// which is the distribution in proportion to exp(score of the path).
#pragma once

#include <cmath>

#include "core/topology.h"
#include "paths/path_writer.h"

namespace gtnet::paths {

// Uniform numbers in [0, 1) from a seed (splitmix64: Steele, Lea & Flood 2014).
class Uniform {
 public:
  GTNET_HD explicit Uniform(int64_t seed) : state_(static_cast<uint64_t>(seed)) {}

  GTNET_HD double operator()() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

// A number in [0, sum), which the product alone may be rounded up to.
GTNET_HD inline double part_below(double uniform, double sum) {
  const double part = uniform * sum;
  return part < sum ? part : std::nextafter(sum, 0.0);
}

// The first place in [low, high) of ascending sums that is above x; high if there is none.
template <class Sums>
GTNET_HD int64_t above(const Sums& sums, int64_t low, int64_t high, double x) {
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (sums[middle] > x) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// Running sums over the states of a graph of the chances to start in them; all 0 without a path.
template <class T>
struct StartChances {
  In<int64_t> state_offsets;
  In<T> start;
  In<double> to_end;
  Out<double> starts;

  GTNET_HD void operator()(int64_t graph) const {
    const int64_t begin = state_offsets[graph], end = state_offsets[graph + 1];
    double best = kNegInf, sum = 0;
    for (int64_t s = begin; s < end; ++s) {
      const double promise = start[s] + to_end[s];
      best = promise > best ? promise : best;
    }
    for (int64_t s = begin; s < end; ++s) {
      const double promise = start[s] + to_end[s];
      starts[s] = sum += promise == kNegInf ? 0 : std::exp(promise - best);
    }
  }
};

// The chance to end in a state, then running sums over the arcs that leave it.
template <class T>
struct StepChances {
  Csr leaving;
  In<T> weights, accept;
  In<double> to_end;
  Out<double> stops, sums;  // [states], [arcs] by position

  GTNET_HD void operator()(int64_t s) const {
    const bool dead = to_end[s] == kNegInf;
    double sum = dead ? 0 : std::exp(accept[s] - to_end[s]);
    stops[s] = sum;
    for (int32_t k = leaving.offsets[s]; k < leaving.offsets[s + 1]; ++k) {
      if (!dead) sum += std::exp(weights[leaving.arcs[k]] + to_end[leaving.states[k]] - to_end[s]);
      sums[k] = sum;
    }
  }
};

// `each` paths of every graph, one per seed; none where no path is possible. A path of more than
// max_length arcs is given up.
struct SampledPaths {
  static constexpr bool kBackward = false;
  Csr leaving;
  In<int64_t> state_offsets, seeds;
  In<double> starts, stops, sums;
  int64_t each, max_length;

  GTNET_HD int64_t count(int64_t graph) const {
    const int64_t end = state_offsets[graph + 1];
    return end > state_offsets[graph] && starts[end - 1] > 0 ? each : 0;
  }

  template <class Visit>
  GTNET_HD PathEnds follow(int64_t graph, int64_t i, const Visit& visit) const {
    Uniform uniform(seeds[graph * each + i]);
    const int64_t begin = state_offsets[graph], end = state_offsets[graph + 1];
    const double start = part_below(uniform(), starts[end - 1]);
    const auto first = static_cast<int32_t>(above(starts, begin, end, start));
    int32_t state = first;
    for (int64_t length = 0;; ++length) {
      const int32_t low = leaving.offsets[state], high = leaving.offsets[state + 1];
      const double stop = stops[state];
      const double chance = part_below(uniform(), low == high ? stop : sums[high - 1]);
      if (chance < stop) return {0, first, kNone, state, kNone};
      if (length == max_length) return {0, kNone, kNone, kNone, kNone};
      const int64_t k = above(sums, low, high, chance);
      visit(leaving.arcs[k], kNone);
      state = leaving.states[k];
    }
  }
};

}  // namespace gtnet::paths
