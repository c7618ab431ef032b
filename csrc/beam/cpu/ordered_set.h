// A set of small numbers from which the least is taken: a bit for each, in words of 64, and a bit
// for each word that is not empty, level upon level (van Emde Boas 1975, with 64 for the root).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace gtnet::beam {

class OrderedSet {
 public:
  // Of the numbers from 0 to below `size`.
  explicit OrderedSet(int64_t size) {
    do {
      size = std::max<int64_t>(1, (size + 63) / 64);
      levels_.emplace_back(size, 0);
    } while (size > 1);
  }

  bool empty() const { return levels_.back()[0] == 0; }

  void insert(int64_t number) {
    for (std::vector<uint64_t>& level : levels_) {
      uint64_t& word = level[number >> 6];
      const bool known = word != 0;
      word |= uint64_t{1} << (number & 63);
      if (known) return;
      number >>= 6;
    }
  }

  // Removes the least.
  int64_t take() {
    int64_t number = 0;
    for (size_t level = levels_.size(); level-- > 0;) {
      number = (number << 6) + std::countr_zero(levels_[level][number]);
    }
    int64_t at = number;
    for (std::vector<uint64_t>& level : levels_) {
      uint64_t& word = level[at >> 6];
      word &= ~(uint64_t{1} << (at & 63));
      if (word != 0) break;
      at >>= 6;
    }
    return number;
  }

 private:
  std::vector<std::vector<uint64_t>> levels_;
};

}  // namespace gtnet::beam
