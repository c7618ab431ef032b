// What a beam search writes down, and what it and its models (search.h) tell each other.
#pragma once

#include <cstdint>
#include <vector>

namespace gtnet::beam {

// A state and the score of a path to it.
struct Reached {
  int32_t state;
  double score;
};

// The arcs from `first` to below `last`.
struct ArcRange {
  int32_t first, last;
};

// How a token came to be: along `arc`, `slack` worse than along the best arc that leads to it.
struct TraceArc {
  int32_t source, target, arc;
  float slack;
};

// The survivors of one item, cut by cut: tokens, which are states reached, and their arcs. Cut c,
// the moment before frame c, owns tokens [cuts[c], cuts[c + 1]), which are entered by arcs
// [arc_cuts[c], arc_cuts[c + 1]).
struct BeamTrace {
  std::vector<int32_t> states;
  std::vector<TraceArc> arcs;
  std::vector<int64_t> cuts{0}, arc_cuts{0};
  std::vector<double> scores;       // of the last cut's tokens
  std::vector<double> start_slack;  // of the first cut's, where the search begins: to start there
};

}  // namespace gtnet::beam
