// The numbers of pairs of states for blocks of threads that find many pairs at once.
#pragma once

#include "rewrite/matching.h"

namespace gtnet::rewrite {

// A pair and its filter state in one word, numbered within the graphs they are of.
struct PairKey {
  static constexpr uint64_t kFree = ~uint64_t{0};  // is no pair: there is no filter state 3

  GTNET_HD static uint64_t of(int32_t a, int32_t b, int filter) {
    return static_cast<uint64_t>(a) << 33 | static_cast<uint64_t>(b) << 2 |
           static_cast<uint64_t>(filter);
  }
  GTNET_HD static int32_t a(uint64_t key) { return static_cast<int32_t>(key >> 33); }
  GTNET_HD static int32_t b(uint64_t key) { return static_cast<int32_t>(key >> 2 & 0x7fffffff); }
  GTNET_HD static int filter(uint64_t key) { return static_cast<int>(key & 3); }
};

// A table for each item of a batch: a place for every pair where these are few, else open
// addressing, in which a pair has some place and always the same.
//
// The value there is kUnseen, ~number of a pair that has one (below 0), or in between the smallest
// of the arcs that lead to it: threads that find a pair at once leave the first of them.
struct PairNumbers {
  static constexpr int32_t kUnseen = 0x7fffffff;
  int64_t size;  // places for an item; a power of 2 where there are keys
  Out<int32_t> values;
  Span<uint64_t> keys;  // null where every pair has its own place

  // The place of a pair of an item, where `num_b` and `filters` shape the table of its pairs.
  template <class Block>
  GTNET_KERNEL int64_t claim(int64_t item, int64_t num_b, int filters, uint64_t key) const {
    if (!keys) return dense(item, num_b, filters, key);
    for (int64_t i = first(key);; i = next(i)) {
      const uint64_t before = Block::claim(keys[item * size + i], PairKey::kFree, key);
      if (before == PairKey::kFree || before == key) return item * size + i;
    }
  }

  // The number of a pair that has one.
  GTNET_HD int32_t number(int64_t item, int64_t num_b, int filters, uint64_t key) const {
    if (!keys) return ~values[dense(item, num_b, filters, key)];
    int64_t i = first(key);
    while (keys[item * size + i] != key) i = next(i);
    return ~values[item * size + i];
  }

 private:
  GTNET_HD int64_t dense(int64_t item, int64_t num_b, int filters, uint64_t key) const {
    return item * size + (PairKey::a(key) * num_b + PairKey::b(key)) * filters +
           PairKey::filter(key);
  }
  GTNET_HD int64_t first(uint64_t key) const {
    const uint64_t mixed = key * 0x9E3779B97F4A7C15ull;
    return static_cast<int64_t>(mixed ^ mixed >> 32) & (size - 1);
  }
  GTNET_HD int64_t next(int64_t i) const { return (i + 1) & (size - 1); }
};

}  // namespace gtnet::rewrite
