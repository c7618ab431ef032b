// A batch of chains of frames and the graphs that a beam searches, as kernels see them, and what
// the search keeps: tokens, which are states reached at a cut, with their scores.
#pragma once

#include "beam/limits.h"
#include "core/score_array.h"

namespace gtnet::beam {

constexpr double kHighest = std::numeric_limits<double>::max();
constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

// A double as an integer of the same order; -0.0 counts as 0.0.
GTNET_HD GTNET_INLINE int64_t key_of(double x) {
  const auto bits = __builtin_bit_cast(int64_t, x + 0.0);
  return bits >= 0 ? bits : bits ^ kLargest;
}
GTNET_HD GTNET_INLINE double of_key(int64_t key) {
  return __builtin_bit_cast(double, key >= 0 ? key : key ^ kLargest);
}

// Memory that a kernel shares out: the next so many elements of it.
struct Workplace {
  Span<char> all;
  int64_t used = 0;

  template <class Value>
  GTNET_HD static int64_t sized(int64_t count) {
    return (count * static_cast<int64_t>(sizeof(Value)) + 15) / 16 * 16;
  }
  template <class Value>
  GTNET_HD Span<Value> take(int64_t count) {
    const int64_t begin = used;
    used += sized<Value>(count);
    return {reinterpret_cast<Value*>(all.part(begin, sized<Value>(count)).data()), count};
  }
};

// The arcs that leave the states of a list, side by side: of state i those numbered from begin[i]
// on are at positions of the graph from first[i] on.
struct Fan {
  Span<int32_t> begin, first;
  int64_t states = 0, arcs = 0;

  struct Place {
    int32_t from, position;  // which state of the list
  };
  struct Ends {
    int32_t first, last;  // positions of the arcs of a state
  };
  GTNET_HD GTNET_INLINE Place operator[](int64_t arc) const {
    int64_t low = 0, high = states - 1;
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      if (begin[middle] <= arc) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return {static_cast<int32_t>(low), static_cast<int32_t>(first[low] + (arc - begin[low]))};
  }
};

// As BeamGraph of beam/cpu/search.h has it, for all items. States are numbered through the batch in
// `targets`, and within their graph in what the kernels keep of them.
template <class T>
struct BeamGrid {
  int64_t size, frames, num_labels, num_graphs;
  ScoreArray scores;
  int64_t item_stride, row_stride;
  Span<const int64_t> lengths, state_offsets;
  Span<const int32_t> offsets, arcs, targets, labels;
  Span<const T> weights, start;
  Span<const int32_t> epsilon_order;  // may be null
  BeamLimits limits;

  GTNET_HD int64_t graph(int64_t item) const { return num_graphs == 1 ? 0 : item; }
  GTNET_HD int32_t first_state(int64_t item) const {
    return static_cast<int32_t>(state_offsets[graph(item)]);
  }
  GTNET_HD int64_t num_states(int64_t item) const {
    return state_offsets[graph(item) + 1] - state_offsets[graph(item)];
  }
  GTNET_HD int64_t length(int64_t item) const {
    const int64_t given = lengths[item];
    return given < 0 ? 0 : given > frames ? frames : given;
  }

  // The first position of a state whose label is not below.
  GTNET_HD GTNET_INLINE int32_t position(int32_t state, int64_t label) const {
    int32_t low = offsets[state], high = offsets[state + 1];
    while (low < high) {
      const int32_t middle = low + (high - low) / 2;
      if (labels[middle] < label) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
  GTNET_HD bool has_epsilons(int32_t state) const {
    const int32_t k = offsets[state];
    return k < offsets[state + 1] && labels[k] < 0;
  }

  // The score of a path along the arc at a position, reading a frame; what is no number counts as
  // impossible.
  GTNET_HD GTNET_INLINE double along(double before, int32_t position, int64_t item,
                                     int64_t t) const {
    const int64_t row = item * item_stride + t * row_stride;
    const double score =
        before + static_cast<double>(weights[position]) + scores[row + labels[position]];
    return score <= kHighest ? score : kNegInf;
  }
  GTNET_HD GTNET_INLINE double along_epsilon(double before, int32_t position) const {
    const double score = before + static_cast<double>(weights[position]);
    return score <= kHighest ? score : kNegInf;
  }

  // The arcs that read a label, or no label, and leave state(i) for i < count, into `fan`.
  template <class Block, class State>
  GTNET_KERNEL Fan fan_of(Block& block, const Fan& room, int64_t count, bool reading,
                          Span<int64_t> parts, const State& state) const {
    Fan fan = room;
    fan.states = count;
    const auto ends = [=, this](int64_t i) {
      const int32_t s = state(i), label_begin = position(s, 0);
      if (!reading) return Fan::Ends{offsets[s], label_begin};
      return Fan::Ends{label_begin, position(s, num_labels)};
    };
    fan.arcs = block.prefix_sums(
        count, parts, [=](int64_t i) { return ends(i).last - ends(i).first; },
        [=](int64_t i, int64_t before) {
          fan.begin[i] = static_cast<int32_t>(before);
          fan.first[i] = ends(i).first;
        });
    block.sync();
    return fan;
  }
};

// What a search kept of all items: item i has tokens [i * capacity, ...), cut c of it those from
// cuts[i][c] to cuts[i][c + 1], as far as there is room for them.
struct BeamTokens {
  int64_t capacity, frames;
  Span<int32_t> states;  // of its graph
  Span<double> scores;
  Span<int64_t> cuts;  // [items, frames + 2]

  GTNET_HD int64_t& cut(int64_t item, int64_t c) const { return cuts[item * (frames + 2) + c]; }
  GTNET_HD int64_t count(int64_t item, int64_t c) const { return cut(item, c + 1) - cut(item, c); }
  GTNET_HD Span<int32_t> states_of(int64_t item, int64_t c) const {
    return states.part(item * capacity + cut(item, c), count(item, c));
  }
  GTNET_HD Span<double> scores_of(int64_t item, int64_t c) const {
    return scores.part(item * capacity + cut(item, c), count(item, c));
  }
};

}  // namespace gtnet::beam
