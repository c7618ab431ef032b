// Keys put in order, and the key of a rank, by a block of threads.
#pragma once

#include "core/span.h"

namespace gtnet::block {

// Sorts keys, the lowest first, by a network of exchanges (Batcher 1968): all of one step are
// independent of one another. O(count log^2 count) work.
template <class Block>
GTNET_KERNEL void sort_keys(Block& block, Span<int64_t> keys, int64_t count) {
  const auto step = [&](int64_t mask) {
    block.sync();
    block.each(count, [=](int64_t i) {
      const int64_t j = i ^ mask;
      if (j <= i || j >= count || keys[i] <= keys[j]) return;
      const int64_t lower = keys[j];
      keys[j] = keys[i];
      keys[i] = lower;
    });
  };
  for (int64_t size = 2; size / 2 < count; size *= 2) {
    step(size - 1);  // two runs in order become two in order, all of the lower keys in one
    for (int64_t apart = size / 4; apart > 0; apart /= 2) step(apart);
  }
  block.sync();
}

// The key of a rank, from 1 on and from the highest key down, and its rank among its equals.
struct RankedKey {
  int64_t key, rank;
};

// Where a rank lies in a histogram: in a bin that holds `here` keys, with `before` above it.
struct RankedBin {
  int64_t bin, before, here;
};

// Ranks key(0), ..., key(count - 1), which lie in [lowest, highest], by a histogram of that range,
// and then of the bin in which the key lies.
template <class Block, class Key>
GTNET_KERNEL RankedKey key_of_rank(Block& block, int64_t count, int64_t rank, int64_t lowest,
                                   int64_t highest, Span<int32_t> bins, int64_t num_bins,
                                   Span<int64_t> parts, Span<RankedBin> found, const Key& key) {
  while (lowest < highest) {
    const uint64_t top = static_cast<uint64_t>(highest);
    const uint64_t range = top - static_cast<uint64_t>(lowest);
    int shift = 0;
    while (range >> shift >= static_cast<uint64_t>(num_bins)) ++shift;
    const auto inside = [=](int64_t k) { return lowest <= k && k <= highest; };
    const auto bin = [=](int64_t k) { return (top - static_cast<uint64_t>(k)) >> shift; };
    block.each(num_bins, [=](int64_t b) { bins[b] = 0; });
    block.sync();
    block.each(count, [=](int64_t i) {
      if (inside(key(i))) Block::add(bins[static_cast<int64_t>(bin(key(i)))], 1);
    });
    block.prefix_sums(
        num_bins, parts, [=](int64_t b) { return bins[b]; },
        [=](int64_t b, int64_t before) {
          if (before < rank && before + bins[b] >= rank) found[0] = {b, before, bins[b]};
        });
    const RankedBin in = block.seen(found[0]);
    rank -= in.before;
    if (in.here == 1) {
      block.each(count, [=](int64_t i) {
        const int64_t k = key(i);
        if (inside(k) && bin(k) == static_cast<uint64_t>(in.bin)) found[0].bin = k;
      });
      return {block.seen(found[0].bin), rank};
    }
    const uint64_t upper = top - (static_cast<uint64_t>(in.bin) << shift);
    const uint64_t width = (uint64_t{1} << shift) - 1;
    if (upper - static_cast<uint64_t>(lowest) > width) lowest = static_cast<int64_t>(upper - width);
    highest = static_cast<int64_t>(upper);
  }
  return {lowest, rank};
}

}  // namespace gtnet::block
