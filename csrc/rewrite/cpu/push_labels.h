// Outputs written as early as they are certain: the longest common prefix of what all paths from a
// state to acceptance write (Mohri 2000, "Minimization algorithms for sequential transducers").
#pragma once

#include <algorithm>
#include <vector>

#include "core/topology.h"

namespace gtnet::rewrite {

using LabelString = std::vector<int32_t>;

// prefix(s) is the longest common prefix of output(a) prefix(target(a)) over the arcs a that leave
// s, and empty where s accepts: the largest solution, reached by strings that only get shorter.
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
        if (first) {
          shared = whole;
        } else {
          const size_t most = std::min(shared.size(), whole.size());
          const auto apart = std::mismatch(
              shared.begin(), shared.begin() + static_cast<std::ptrdiff_t>(most), whole.begin());
          shared.erase(apart.first, shared.end());
        }
        first = false;
      }
      if (known_[s - begin] && shared == prefix_[s - begin]) continue;
      known_[s - begin] = 1;
      prefix_[s - begin] = shared;
      changed(s);
    }
  }

  const LabelString& of(int32_t state) const { return prefix_[state - begin_]; }

  // What an arc writes once its source has written its prefix.
  LabelString rest(int32_t source, int32_t arc, int32_t target) const {
    LabelString whole = written(arc, target);
    whole.erase(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(of(source).size()));
    return whole;
  }

 private:
  LabelString written(int32_t arc, int32_t target) const {
    LabelString whole;
    if (outputs_[arc] != kEpsilon) whole.push_back(outputs_[arc]);
    whole.insert(whole.end(), of(target).begin(), of(target).end());
    return whole;
  }

  const int32_t* outputs_;
  int32_t begin_;
  std::vector<LabelString> prefix_;
  std::vector<char> known_;
};

}  // namespace gtnet::rewrite
