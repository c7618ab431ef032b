// Outputs written as early as they are certain: the longest common prefix of what all paths from a
// state to acceptance write (Mohri 2000, "Minimization algorithms for sequential transducers").
#pragma once

#include <algorithm>
#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"
#include "rewrite/cpu/label_tree.h"

namespace gtnet::rewrite {

// prefix(s) is the longest common prefix of output(a) prefix(target(a)) over the arcs a that leave
// s, and empty where s accepts: the largest solution, reached by strings that only get shorter.
//
// A string begins where the way from the root of the tree ends, so that an output in front of it is
// a node more, and what it shares with another costs nothing.
class CommonPrefixes {
 public:
  CommonPrefixes(const Csr& leaving, const Csr& entering, const int32_t* outputs,
                 const bool* is_accept, int32_t begin, int32_t end)
      : outputs_(outputs), begin_(begin), prefix_(end - begin), known_(end - begin, 0) {
    std::vector<int32_t> queue;
    std::vector<char> queued(end - begin, 0);
    const auto changed = [&](int32_t s) {
      for (int32_t k = entering.offsets[s]; k < entering.offsets[s + 1]; ++k) {
        const int32_t r = entering.states[k];
        if (is_accept[r] || queued[r - begin]) continue;
        queued[r - begin] = 1;
        queue.push_back(r);
      }
    };
    for (int32_t s = begin; s < end; ++s) known_[s - begin] = is_accept[s];
    for (int32_t s = begin; s < end; ++s) {
      if (is_accept[s]) changed(s);
    }
    for (size_t next = 0; next < queue.size(); ++next) {
      const int32_t s = queue[next];
      queued[s - begin] = 0;
      LabelString shared;
      bool first = true;
      for (int32_t k = leaving.offsets[s]; k < leaving.offsets[s + 1]; ++k) {
        if (!known_[leaving.states[k] - begin]) continue;
        const LabelString whole = written(leaving.arcs[k], leaving.states[k]);
        const int32_t kept = first ? whole.length : tree_.common_end(shared, whole);
        shared = LabelTree::without_first(whole, whole.length - kept);
        poll(8 + 4 * static_cast<int64_t>(kept));
        first = false;
      }
      if (known_[s - begin] && shared.length == prefix_[s - begin].length) continue;
      known_[s - begin] = 1;
      prefix_[s - begin] = shared;
      changed(s);
    }
  }

  int32_t length(int32_t state) const { return prefix_[state - begin_].length; }
  void write(int32_t state, int32_t* to) const {
    tree_.write_reversed(prefix_[state - begin_], to);
  }

  // What an arc writes once its source has written its prefix.
  int32_t rest_length(int32_t source, int32_t arc, int32_t target) const {
    return (outputs_[arc] != kEpsilon) + length(target) - length(source);
  }
  void write_rest(int32_t source, int32_t arc, int32_t target, int32_t* to) const {
    const int32_t own = outputs_[arc] != kEpsilon, done = length(source);
    if (own && done == 0) *to++ = outputs_[arc];
    const int32_t skipped = std::max(done - own, 0);
    tree_.write_reversed(tree_.without_last(prefix_[target - begin_], skipped), to);
  }

 private:
  LabelString written(int32_t arc, int32_t target) {
    const LabelString behind = prefix_[target - begin_];
    return outputs_[arc] == kEpsilon ? behind : tree_.longer(behind, outputs_[arc]);
  }

  const int32_t* outputs_;
  int32_t begin_;
  LabelTree tree_;
  std::vector<LabelString> prefix_;
  std::vector<char> known_;
};

}  // namespace gtnet::rewrite
