// The cuts of a segmentation: the states of an acyclic graph whose arcs, the segments, each carry a
// row of label scores. A chain of frames is the one whose cuts follow one another.
#pragma once

#include <vector>

#include "core/platform.h"

namespace gtnet::lattice {

// Cuts in an order in which every segment leads on; segments by the cut that they leave.
struct Cuts {
  int32_t count = 0;
  bool is_chain = false;             // one segment leads from every cut to the next
  std::vector<int32_t> begin;        // [count + 1] the segments that leave each cut
  std::vector<int32_t> target, row;  // [segments] the cut each leads to, its row of scores
  std::vector<char> alone;           // [count] one segment enters, and no path begins here
  std::vector<double> start, accept;
  std::vector<int32_t> name;  // [count] the number of each cut in its graph

  static Cuts chain(int64_t frames) {
    Cuts cuts;
    const auto segments = static_cast<int32_t>(frames);
    cuts.allocate(segments + 1, segments);
    cuts.is_chain = true;
    for (int32_t c = 0; c <= segments; ++c) {
      cuts.begin[c] = cuts.name[c] = c;
      cuts.alone[c] = c > 0;
      if (c < segments) cuts.target[c] = c + 1, cuts.row[c] = c;
    }
    cuts.begin[cuts.count] = segments;
    cuts.start[0] = cuts.accept[segments] = 0;
    return cuts;
  }

  // `order` names states through a batch in which this graph's begin at `first`.
  template <class Score>
  static Cuts segmentation(int32_t num_states, int32_t num_arcs, const int32_t* order,
                           int64_t first, const int32_t* source, const int32_t* target,
                           const Score* start, const Score* accept) {
    Cuts cuts;
    cuts.allocate(num_states, num_arcs);
    std::vector<int32_t> rank(num_states), entering(num_states, 0);
    for (int32_t c = 0; c < num_states; ++c) {
      const auto s = static_cast<int32_t>(order[c] - first);
      rank[s] = c;
      cuts.name[c] = s;
      cuts.start[c] = static_cast<double>(start[s]);
      cuts.accept[c] = static_cast<double>(accept[s]);
    }
    for (int32_t a = 0; a < num_arcs; ++a) {
      ++cuts.begin[rank[source[a]] + 1];
      ++entering[rank[target[a]]];
    }
    for (int32_t c = 0; c < num_states; ++c) {
      cuts.begin[c + 1] += cuts.begin[c];
      cuts.alone[c] = entering[c] == 1 && cuts.start[c] == kNegInf;
    }
    std::vector<int32_t> next(cuts.begin.begin(), cuts.begin.end() - 1);
    for (int32_t a = 0; a < num_arcs; ++a) {
      const int32_t k = next[rank[source[a]]]++;
      cuts.target[k] = rank[target[a]];
      cuts.row[k] = a;
    }
    return cuts;
  }

  bool starts(int32_t cut) const { return start[cut] != kNegInf; }
  bool accepts(int32_t cut) const { return accept[cut] != kNegInf; }
  int32_t num_segments() const { return static_cast<int32_t>(target.size()); }

  // The segments that enter each cut, [count + 1] offsets into a list, and the cut each leaves.
  struct Entering {
    std::vector<int32_t> begin, segment, source;
  };
  Entering entering() const {
    Entering result{std::vector<int32_t>(count + 1, 0), std::vector<int32_t>(target.size()),
                    std::vector<int32_t>(target.size())};
    for (int32_t d : target) ++result.begin[d + 1];
    for (int32_t c = 0; c < count; ++c) result.begin[c + 1] += result.begin[c];
    std::vector<int32_t> next(result.begin.begin(), result.begin.end() - 1);
    for (int32_t c = 0; c < count; ++c) {
      for (int32_t k = begin[c]; k < begin[c + 1]; ++k) {
        const int32_t at = next[target[k]]++;
        result.segment[at] = k;
        result.source[at] = c;
      }
    }
    return result;
  }

 private:
  void allocate(int32_t cuts, int32_t segments) {
    count = cuts;
    begin.assign(cuts + 1, 0);
    target.resize(segments);
    row.resize(segments);
    alone.assign(cuts, 0);
    start.assign(cuts, kNegInf);
    accept.assign(cuts, kNegInf);
    name.resize(cuts);
  }
};

}  // namespace gtnet::lattice
