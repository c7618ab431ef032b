// Kernels that lay out rewritten graphs, whose sections functors fill.
#pragma once

#include "rewrite/rational.h"

namespace gtnet::rewrite {

// Where the states and the arcs of each section begin, and in the end how many there are. One
// block.
struct SectionBegins {
  static constexpr int kThreads = 1024;
  static constexpr int64_t kBytes = 2 * kWarp * sizeof(int64_t);
  Arrangement all;
  int64_t sections;
  Out<int64_t> state_begin, arc_begin;  // [sections + 1]

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    const int64_t states = block.prefix_sums(
        sections, parts, [this](int64_t s) { return all.num_states(s); },
        [this](int64_t s, int64_t before) { state_begin[s] = before; });
    const int64_t arcs = block.prefix_sums(
        sections, parts, [this](int64_t s) { return all.num_arcs(s); },
        [this](int64_t s, int64_t before) { arc_begin[s] = before; });
    block.each(1, [=, this](int64_t) {
      state_begin[sections] = states;
      arc_begin[sections] = arcs;
    });
  }
};

// functor(section, i) for every element, which finds its section by bisection.
template <class Functor>
struct BySection {
  Functor functor;
  In<int64_t> begin;  // [sections + 1]
  int64_t sections;

  GTNET_HD void operator()(int64_t element) const {
    int64_t low = 0, high = sections;  // the last section that begins here or before
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      if (begin[middle] <= element) {
        low = middle;
      } else {
        high = middle;
      }
    }
    functor(functor.all.section(low), element - begin[low]);
  }
};

}  // namespace gtnet::rewrite
