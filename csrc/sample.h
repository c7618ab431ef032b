// Paths drawn at random, one choice after another: with to_end the log-sum of what follows a state,
//   P(first state s) ~ exp(start[s] + to_end[s]),   P(end | state s) ~ exp(accept[s] - to_end[s]),
//   P(arc | state s) ~ exp(weight[arc] + to_end[target of arc] - to_end[s]),
// which is the distribution in proportion to exp(score of the path).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "paths.h"

namespace gtnet {

// Uniform numbers in [0, 1) from a seed (splitmix64: Steele, Lea & Flood 2014).
class Uniform {
 public:
  explicit Uniform(int64_t seed) : state_(static_cast<uint64_t>(seed)) {}

  double operator()() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

// The paths of one graph, one per seed; none where no path is possible.
template <class T>
class Sampler {
 public:
  Sampler(const Incidence& leaving, const T* weights, const T* start, const T* accept,
          const double* to_end, int32_t begin, int32_t end)
      : leaving_(leaving), begin_(begin), first_(leaving.offsets[begin]) {
    double sum = 0;
    starts_.reserve(end - begin);
    for (int32_t s = begin; s < end; ++s) best_ = std::max(best_, start[s] + to_end[s]);
    for (int32_t s = begin; s < end; ++s) {
      const double promise = start[s] + to_end[s];
      starts_.push_back(sum += promise == kNegInf ? 0 : std::exp(promise - best_));
    }
    stops_.reserve(end - begin);
    sums_.reserve(leaving.offsets[end] - first_);
    for (int32_t s = begin; s < end; ++s) {
      const bool dead = to_end[s] == kNegInf;
      sum = dead ? 0 : std::exp(accept[s] - to_end[s]);
      stops_.push_back(sum);
      for (int32_t k = leaving.offsets[s]; k < leaving.offsets[s + 1]; ++k) {
        if (!dead)
          sum += std::exp(weights[leaving.arcs[k]] + to_end[leaving.states[k]] - to_end[s]);
        sums_.push_back(sum);
      }
    }
  }

  // A path of more than max_length arcs is given up: length 0 and no end states.
  void run(const int64_t* seeds, int64_t count, int64_t max_length, Paths& paths) const {
    if (best_ == kNegInf) return;
    for (int64_t i = 0; i < count; ++i) draw(Uniform(seeds[i]), max_length, paths);
  }

 private:
  void draw(Uniform uniform, int64_t max_length, Paths& paths) const {
    const size_t before = paths.arcs.size();
    const double u = uniform() * starts_.back();
    const auto begin = starts_.begin();
    const int32_t first =
        begin_ + static_cast<int32_t>(std::upper_bound(begin, starts_.end(), u) - begin);
    int32_t state = first;
    for (int64_t length = 0;; ++length) {
      const int32_t low = leaving_.offsets[state] - first_;
      const int32_t high = leaving_.offsets[state + 1] - first_;
      const double stop = stops_[state - begin_];
      const double chance = uniform() * (low == high ? stop : sums_[high - 1]);
      if (chance < stop) break;
      if (length == max_length) {
        paths.arcs.resize(before);
        paths.lengths.push_back(0);
        paths.first.push_back(kNone);
        paths.last.push_back(kNone);
        return;
      }
      const auto found =
          std::upper_bound(sums_.begin() + low, sums_.begin() + high, chance) - sums_.begin();
      paths.arcs.push_back(leaving_.arcs[first_ + found]);
      state = leaving_.states[first_ + found];
    }
    paths.lengths.push_back(static_cast<int64_t>(paths.arcs.size() - before));
    paths.first.push_back(first);
    paths.last.push_back(state);
  }

  const Incidence leaving_;
  const int32_t begin_, first_;
  double best_ = kNegInf;
  std::vector<double> starts_;  // running sums over the states
  std::vector<double> stops_;   // chance to end in each state
  std::vector<double> sums_;    // the same and running sums over its arcs
};

}  // namespace gtnet
