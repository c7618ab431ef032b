// Where a block works on one item of a beam search.
#pragma once

#include <initializer_list>

#include "beam/gpu/batch.h"
#include "block/sort.h"

namespace gtnet::beam {

// What a block keeps of a search, by state of its graph or as lists of such.
struct BeamRoom {
  static constexpr int64_t kUntouched = std::numeric_limits<int64_t>::min();
  static constexpr int64_t kUnopened = std::numeric_limits<int64_t>::max();

  Span<int64_t> best, opener;    // by state: the key of its score, the first arc that led there
  Span<int32_t> kept, round;     // by state: whether it survives, when its epsilons were followed
  Span<int32_t> entered, token;  // lists of the states reached, and of survivors
  Span<double> token_score;
  Span<int64_t> followed;  // a list of those with epsilons: their order, and the state
  Span<int32_t> queue[2];
  Fan fan;

  // Of so many items with so many states in all.
  GTNET_HD static int64_t bytes(int64_t items, int64_t states) {
    constexpr int64_t kArrays = 12, kAligned = 16;
    return items * kArrays * kAligned +
           states * static_cast<int64_t>(4 * sizeof(int64_t) + 8 * sizeof(int32_t));
  }
  GTNET_HD BeamRoom(Span<char> memory, int64_t states) {
    Workplace place{memory};
    best = place.take<int64_t>(states);
    opener = place.take<int64_t>(states);
    followed = place.take<int64_t>(states);
    token_score = place.take<double>(states);
    for (Span<int32_t>* list :
         {&kept, &round, &entered, &token, &queue[0], &queue[1], &fan.begin, &fan.first}) {
      *list = place.take<int32_t>(states);
    }
  }
};

// What the threads of a block share.
struct BeamShared {
  Span<int64_t> parts;
  Span<int32_t> bins, counters;  // counters: of the two queues, of the states followed
  Span<block::RankedBin> found;

  struct Range {
    double worst, best;
    GTNET_HD static Range both(const Range& a, const Range& b) {
      return {a.worst < b.worst ? a.worst : b.worst, a.best > b.best ? a.best : b.best};
    }
  };
  Span<Range> ranges;

  static int64_t bytes() {
    return Workplace::sized<int64_t>(kWarp) + Workplace::sized<int32_t>(ScoreBins::kCount) +
           Workplace::sized<int32_t>(3) + Workplace::sized<block::RankedBin>(1) +
           Workplace::sized<Range>(kWarp);
  }
  template <class Block>
  GTNET_KERNEL explicit BeamShared(Block& block)
      : parts(block.template shared<int64_t>(kWarp)),
        bins(block.template shared<int32_t>(ScoreBins::kCount)),
        counters(block.template shared<int32_t>(3)),
        found(block.template shared<block::RankedBin>(1)),
        ranges(block.template shared<Range>(kWarp)) {}
};

}  // namespace gtnet::beam
