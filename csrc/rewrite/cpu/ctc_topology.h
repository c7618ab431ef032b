// CTC topologies of label sequences (Graves et al. 2006, section 4.1).
#pragma once

#include <vector>

#include "core/platform.h"

namespace gtnet::rewrite {

// State 2i of a target is the blank before its label i, state 2i + 1 that label. Every state has a
// loop and an arc from the state before; a blank between different labels may be skipped.
struct CtcArcs {
  const int32_t* target;
  int32_t length, blank;

  int32_t read(int32_t state) const { return state % 2 ? target[state / 2] : blank; }

  bool skips(int32_t state) const {
    return state % 2 && state >= 3 && target[state / 2] != target[state / 2 - 1];
  }

  int32_t states() const { return 2 * length + 1; }

  int32_t count() const {
    int32_t skipped = 0;
    for (int32_t state = 3; state <= 2 * length; state += 2) skipped += skips(state);
    return 4 * length + 1 + skipped;
  }

  // Into arrays of count() arcs, by target state.
  void write(int32_t* source, int32_t* to, int32_t* reads, int32_t* writes) const {
    for (int32_t state = 0; state <= 2 * length; ++state) {
      for (int32_t back = 0; back <= 2; ++back) {
        if (back == 1 && state == 0) break;
        if (back == 2 && !skips(state)) break;
        *source++ = state - back;
        *to++ = state;
        *reads++ = read(state);
        *writes++ = back > 0 && state % 2 ? read(state) : kEpsilon;
      }
    }
  }
};

// The topologies of targets that lie one after another; writes where the states and arcs of each
// begin, [graphs + 1].
inline std::vector<CtcArcs> ctc_graphs(const int32_t* targets, const int64_t* lengths,
                                       int64_t num_graphs, int64_t blank, int64_t* states,
                                       int64_t* arcs) {
  std::vector<CtcArcs> graphs;
  states[0] = arcs[0] = 0;
  for (int64_t g = 0; g < num_graphs; targets += lengths[g++]) {
    graphs.push_back({targets, static_cast<int32_t>(lengths[g]), static_cast<int32_t>(blank)});
    states[g + 1] = states[g] + graphs[g].states();
    arcs[g + 1] = arcs[g] + graphs[g].count();
  }
  return graphs;
}

// The labels of targets [graphs, width], or of all one after another where width is 0; whether each
// length has its labels, and each label is one of a frame and not the blank.
struct CtcTargets {
  std::vector<int32_t> labels;
  bool valid = true;

  CtcTargets(const int64_t* targets, int64_t size, int64_t width, const int64_t* lengths,
             int64_t num_graphs, int64_t num_labels, int64_t blank) {
    int64_t passed = 0;
    for (int64_t g = 0; g < num_graphs && valid; ++g) {
      const int64_t begin = width > 0 ? g * width : passed;
      valid = 0 <= lengths[g] && lengths[g] <= (width > 0 ? width : size - passed);
      for (int64_t i = 0; valid && i < lengths[g]; ++i) {
        const int64_t label = targets[begin + i];
        valid = 0 <= label && label < num_labels && label != blank;
        labels.push_back(static_cast<int32_t>(label));
      }
      passed += lengths[g];
    }
    valid = valid && (width > 0 || passed == size);
  }
};

}  // namespace gtnet::rewrite
