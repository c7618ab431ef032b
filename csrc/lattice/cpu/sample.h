// Paths of a lattice drawn at random, from their ends back, in proportion to exp(score): the last
// step into a position p at a cut c is drawn with
//   P(way) = alpha(where the way comes from) * weight * emission / alpha_c(p)
// (forward filtering, backward sampling; Rabiner 1989).
#pragma once

#include "core/budget.h"
#include "core/interrupt.h"
#include "lattice/cpu/forward_backward.h"
#include "lattice/cpu/predecessors.h"
#include "paths/sample.h"

namespace gtnet::lattice {

template <class Score>
class LatticeSampler {
 public:
  // alphas of all cuts and their offsets, as LatticePass::forward keeps them.
  LatticeSampler(const LatticeItem<Score>& item, Numbers<double> alpha, const double* offset)
      : cuts_(item.cuts),
        num_positions_(item.steps.num_positions),
        predecessors_(item),
        alpha_(alpha),
        offset_(offset) {
    double best = kNegInf, sum = 0;
    each_end(item, [&](int32_t c, int32_t s, double accept) {
      best = std::max(best, distance(c, s) + accept);
    });
    if (best == kNegInf) return;
    each_end(item, [&](int32_t c, int32_t s, double accept) {
      const double score = distance(c, s) + accept;
      if (score == kNegInf) return;
      ends_.push_back({c, s, 0, 0, 0, 0});
      ends_sums_.push_back(sum += std::exp(score - best));
    });
  }

  // One path per seed; none where no path is possible. Each spends its states.
  std::vector<LatticePath> draw(const int64_t* seeds, int64_t count, Budget& budget) const {
    std::vector<LatticePath> paths;
    for (int64_t i = 0; i < count && !ends_.empty(); ++i) {
      paths.push_back(draw(paths::Uniform(seeds[i])));
      budget.spend(static_cast<int64_t>(paths.back().arcs.size()) + 1);
    }
    return paths;
  }

 private:
  const Cuts& cuts_;
  const int64_t num_positions_;
  const Predecessors<Score> predecessors_;
  const Numbers<double> alpha_;
  const double* const offset_;
  std::vector<Way> ends_;
  std::vector<double> ends_sums_;

  double distance(int32_t cut, int32_t position) const {
    const int64_t at = cut * num_positions_ + position;
    if (offset_[cut] == kNegInf || alpha_.m[at] == 0) return kNegInf;
    constexpr double kLn2 = 0.69314718055994530942;
    return std::log(alpha_.m[at]) + static_cast<double>(alpha_.e[at]) * kLn2 + offset_[cut];
  }

  // One of the positions whose chances add up to `sums`.
  static size_t chosen(const std::vector<double>& sums, double uniform) {
    const auto found = std::upper_bound(sums.begin(), sums.end(), uniform * sums.back());
    return std::min<size_t>(found - sums.begin(), sums.size() - 1);
  }

  LatticePath draw(paths::Uniform uniform) const {
    LatticePath path;
    const Way end = ends_[chosen(ends_sums_, uniform())];
    int32_t cut = path.last_cut = end.cut, position = path.last = end.position;
    std::vector<Way> ways;
    std::vector<double> sums;
    for (;;) {
      const double here = distance(cut, position);
      const double begins = predecessors_.start(cut, position);
      double sum = begins == kNegInf ? 0 : std::exp(begins - here);
      ways.clear();
      sums.assign(1, sum);
      predecessors_.each(cut, position, [&](const Way& way) {
        const double score = way.from(distance(way.cut, way.position));
        if (score == kNegInf) return false;
        ways.push_back(way);
        sums.push_back(sum += std::exp(score - here));
        return false;
      });
      poll(32 * static_cast<int64_t>(sums.size()));
      const size_t choice = ways.empty() ? 0 : chosen(sums, uniform());
      if (choice == 0) break;
      const Way& way = ways[choice - 1];
      path.take(way.arc, way.row);
      cut = way.cut;
      position = way.position;
    }
    path.first = position;
    path.first_cut = cut;
    path.turn(cuts_);
    return path;
  }
};

}  // namespace gtnet::lattice
