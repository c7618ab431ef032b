// What a beam search on a CPU and one on a GPU agree on: which scores are kept, and how they are
// counted.
#pragma once

#include "core/platform.h"

namespace gtnet::beam {

struct BeamLimits {
  static constexpr double kLowest = std::numeric_limits<double>::lowest();

  double beam, lattice_beam;
  int64_t max_active;  // states that a frame, or a start, leads to; their epsilons are free
  bool foresee;        // no epsilon raises a score, so a state that falls behind helps no other

  // The lowest score that is still within the beam of the best one.
  GTNET_HD double lowest_within(double best) const {
    const double low = best - beam;
    return low > kLowest ? low : kLowest;
  }

  // The lowest score of an arc that may be within the lattice beam of one of the survivors.
  GTNET_HD double lowest_of_arcs(double least) const {
    const double low = least - lattice_beam;
    return low > kLowest ? low : kLowest;
  }

  // How much worse a way into a survivor is than the best one; infinite for one that it does not
  // have: a state that max_active cut off and epsilons reach again has their score.
  GTNET_HD static double slack(double best, double score) {
    return score <= best ? best - score : -kNegInf;
  }
};

// A histogram of scores: the lower, the later the bin.
struct ScoreBins {
  static constexpr int kCount = 1024;
  double best = kNegInf, per_score = 0;

  // From the best score down to `worst`.
  GTNET_HD void set(double from_best, double worst) {
    best = from_best;
    per_score = best > worst ? (kCount - 1) / (best - worst) : 0;
  }

  // Whatever is worse than the worst is in the last one.
  GTNET_HD GTNET_INLINE int bin(double score) const {
    const double place = (best - score) * per_score;
    if (!(place < kCount - 1)) return kCount - 1;
    return place > 0 ? static_cast<int>(place) : 0;
  }

  // The lowest score of a bin but the last.
  GTNET_HD double edge(int bin) const { return best - (bin + 1) / per_score; }

  // How many arcs to reach for where so many states are wanted: several arcs lead to some.
  GTNET_HD static int64_t arcs_for(int64_t states) { return states + states / 4; }
};

}  // namespace gtnet::beam
