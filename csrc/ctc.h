// CTC topologies of label sequences (Graves et al. 2006, section 4.1).
#pragma once

#include "platform.h"

namespace gtnet {

// State 2i of a target is the blank before its label i, state 2i + 1 that label. Every state has a
// loop and an arc from the state before; a blank between different labels may be skipped.
struct CtcArcs {
  const int32_t* target;
  int32_t length, blank;

  int32_t read(int32_t state) const { return state % 2 ? target[state / 2] : blank; }

  bool skips(int32_t state) const {
    return state % 2 && state >= 3 && target[state / 2] != target[state / 2 - 1];
  }

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

}  // namespace gtnet
