// The k best paths of an acyclic graph of which all paths count, given the best distances.
#pragma once

#include "paths/cpu/k_best_lazy.h"
#include "paths/cpu/path_list.h"

namespace gtnet::paths {

// The ways into the states of one graph, for LazyKBest.
template <class T>
class GraphWays {
 public:
  struct Way {
    double weight = 0;
    int32_t node = kNone, arc = kNone;

    double from(double distance) const { return distance + weight; }
  };

  // Of the states [begin, end).
  GraphWays(const Csr& entering, const T* weights, const T* start, const T* accept,
            const double* distance, int64_t begin, int64_t end)
      : entering_(entering),
        weights_(weights),
        start_(start),
        accept_(accept),
        distance_(distance),
        begin_(begin),
        end_(end),
        places_(end - begin, kNone) {}

  template <class Visit>
  void ends(const Visit& visit) const {
    for (int64_t s = begin_; s < end_; ++s) {
      visit(Way{static_cast<double>(accept_[s]), static_cast<int32_t>(s)});
    }
  }
  template <class Visit>
  void each(int64_t s, const Visit& visit) const {
    for (int32_t k = entering_.offsets[s]; k < entering_.offsets[s + 1]; ++k) {
      const int32_t arc = entering_.arcs[k];
      visit(Way{static_cast<double>(weights_[arc]), entering_.states[k], arc});
    }
  }
  double start(int64_t s) const { return start_[s]; }
  double distance(int64_t s) const { return distance_[s]; }
  int32_t& place(int64_t s) { return places_[s - begin_]; }

 private:
  const Csr& entering_;
  const T *weights_, *start_, *accept_;
  const double* distance_;
  const int64_t begin_, end_;
  std::vector<int32_t> places_;
};

template <class T>
void graph_k_best(GraphWays<T> ways, int64_t k, Budget& budget, Paths& paths) {
  using Search = LazyKBest<GraphWays<T>>;
  if (k == 0) return;
  Search search(ways, budget);
  for (int64_t found = 0; found < k; ++found) {
    const int32_t end = search.next();
    if (end == kNone) return;
    const size_t begin = paths.arcs.size();
    paths.last.push_back(search.step(end).way.node);
    const int64_t first =
        search.follow(end, [&](const auto& way) { paths.arcs.push_back(way.arc); });
    paths.first.push_back(static_cast<int32_t>(first));
    std::reverse(paths.arcs.begin() + static_cast<std::ptrdiff_t>(begin), paths.arcs.end());
    paths.lengths.push_back(static_cast<int64_t>(paths.arcs.size() - begin));
    budget.spend(paths.lengths.back() + 1);
  }
}

}  // namespace gtnet::paths
