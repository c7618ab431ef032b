// Items that share a graph are interleaved: every position holds one number per item, side by side
// in a vector, so an arc is one multiplication for all of them and nothing is gathered. Numbers are
// ordinary ones relative to a power of two per item and cut. An item for which something would be
// lost by that is found out and done alone, with exponents.
#pragma once

#include <algorithm>
#include <vector>

#include "lattice/cpu/interleaved/lanes.h"
#include "lattice/cpu/spmv_extended.h"

namespace gtnet::lattice::interleaved {

// Binary exponents. Weights reach from 2^-kWeights to 1, values from 2^kLowest to 2^kHighest, so
// that no product is lost. The largest value of a cut is brought near 2^kUsual by the next step.
template <class T>
struct ExponentRange;

template <>
struct ExponentRange<float> {
  static constexpr int32_t kWeights = 40, kLowest = -86, kUsual = 80, kHighest = 100;
  static constexpr int32_t kMostLift = 120;
  static constexpr int32_t kMeeting = -60;  // the scale of a product of two values is no larger
};

template <>
struct ExponentRange<double> {
  static constexpr int64_t kWeights = 300, kLowest = -700, kUsual = 600, kHighest = 900;
  static constexpr int64_t kMostLift = 1000;
  static constexpr int64_t kMeeting = -400;
};

// visit(row, other, arc) for every entry of a layout that is not padding.
template <class Visit>
void for_each_entry(const layout::SlicedRows& rows, const Visit& visit) {
  for (int32_t k = 0; k < rows.num_slices; ++k) {
    const int32_t* const to = rows.to + int64_t{k} * kLanes;
    const bool along = rows.kind[k] == kLongRow;
    for (int64_t j = rows.begin[k]; j < rows.begin[k + 1]; ++j) {
      for (int i = 0; i < kLanes; ++i) {
        const int64_t at = j * kLanes + i;
        if (rows.arc[at] != layout::kPadding)
          visit(to[along ? 0 : i], rows.other[at], rows.arc[at]);
      }
    }
  }
}

// The rows of a layout without its padding, in its order. Rows that follow one another and read
// the same positions are a block, so that these are loaded once for all of its rows.
template <class T>
class Rows {
 public:
  struct Block {
    int32_t row, rows, entries;
    int32_t other;  // where the positions that its rows read begin
    int32_t begin;  // where its weights begin, [entries, rows]
  };

  bool usable = true;
  Exponent<T> top = 0;  // weights are relative to 2^top

  // Given the exponentials of the scores of all arcs. `absolute` weights are relative to 1, and
  // rows without arcs are left out: epsilon arcs add to what is there. Of other arcs every position
  // has a row.
  Rows(const layout::SlicedRows& rows, int32_t num_positions, Numbers<T> arcs, bool absolute) {
    lay_out(rows, num_positions, !absolute);
    scale(arcs, absolute);
  }

  const std::vector<Block>& blocks() const { return blocks_; }
  const int32_t* other() const { return other_.data(); }
  const T* weights() const { return weights_.data(); }
  const std::vector<int32_t>& arcs() const { return arcs_; }  // of the weights

 private:
  static constexpr int32_t kMostTogether = 8;
  std::vector<Block> blocks_;
  std::vector<int32_t> other_, arcs_;
  std::vector<T> weights_;

  struct Entry {
    int32_t other, arc;
  };

  void lay_out(const layout::SlicedRows& rows, int32_t num_positions, bool every) {
    std::vector<int32_t> order, begin(num_positions + 1, 0);
    std::vector<char> seen(num_positions, 0);
    for_each_entry(rows, [&](int32_t row, int32_t, int32_t) {
      if (!seen[row]) order.push_back(row);
      seen[row] = 1;
      ++begin[row + 1];
    });
    for (int32_t p = 0; p < num_positions; ++p) begin[p + 1] += begin[p];
    std::vector<Entry> entries(begin[num_positions]);
    std::vector<int32_t> next(begin.begin(), begin.end() - 1);
    for_each_entry(rows, [&](int32_t row, int32_t other, int32_t arc) {
      entries[next[row]++] = {other, arc};
    });
    for (int32_t p = 0; p < num_positions && every; ++p) {
      if (!seen[p]) order.push_back(p);
    }
    for (size_t k = 0; k < order.size();) k += add_block(order, k, begin, entries);
  }

  // The rows from order[k] on that make a block; returns how many.
  size_t add_block(const std::vector<int32_t>& order, size_t k, const std::vector<int32_t>& begin,
                   const std::vector<Entry>& entries) {
    const int32_t row = order[k], count = begin[row + 1] - begin[row];
    const auto alike = [&](size_t i) {
      const int32_t r = row + static_cast<int32_t>(i);
      return k + i < order.size() && order[k + i] == r && begin[r + 1] - begin[r] == count &&
             std::equal(
                 entries.begin() + begin[r], entries.begin() + begin[r + 1],
                 entries.begin() + begin[row], [](Entry a, Entry b) { return a.other == b.other; });
    };
    size_t together = 1;
    while (together < kMostTogether && alike(together)) ++together;
    together = together == kMostTogether ? kMostTogether : together >= 4 ? 4 : 1;
    blocks_.push_back({row, static_cast<int32_t>(together), count,
                       static_cast<int32_t>(other_.size()), static_cast<int32_t>(arcs_.size())});
    for (int32_t j = 0; j < count; ++j) {
      other_.push_back(entries[begin[row] + j].other);
      for (size_t i = 0; i < together; ++i) {
        arcs_.push_back(entries[begin[row + static_cast<int32_t>(i)] + j].arc);
      }
    }
    return together;
  }

  void scale(Numbers<T> arcs, bool absolute) {
    Exponent<T> most = extended::Limits<T>::kZero, least = -extended::Limits<T>::kZero;
    for (const int32_t arc : arcs_) {
      const Exponent<T> e = arc < 0 ? 0 : arcs.e[arc];
      if (arc >= 0 && arcs.m[arc] == 0) continue;
      most = std::max(most, e);
      least = std::min(least, e);
    }
    if (most < least) most = least = 0;
    top = absolute ? 0 : most;
    usable = top - least <= ExponentRange<T>::kWeights && most - top <= ExponentRange<T>::kWeights;
    for (const int32_t arc : arcs_) {
      const T m = arc < 0 ? T{1} : arcs.m[arc];
      const Exponent<T> e = arc < 0 ? 0 : arcs.e[arc];
      weights_.push_back(usable && m != 0 ? m * extended::power_of_two<T>(e - top) : T{0});
    }
  }
};

// sums[row] = sum of weight * from[other] over its entries; kAdding: on top of what is there, row
// after row, as epsilon arcs need it. kPairs: of eight items two rows share a vector.
template <class T, int L, bool kAdding, bool kPairs>
struct Spmm {
  const Rows<T>& rows;
  const T* from;
  T* sums;

  GTNET_INLINE void operator()() const {
    for (const auto& block : rows.blocks()) {
      if (block.rows == 8) {
        together<8>(block);
      } else if (block.rows == 4) {
        together<4>(block);
      } else {
        alone(block);
      }
    }
  }

 private:
  template <int R>
  GTNET_INLINE void together(const typename Rows<T>::Block& block) const {
    if constexpr (kPairs) return in_pairs<R>(block);
    T* const out = sums + int64_t{block.row} * L;
    const int32_t* const other = rows.other() + block.other;
    const T* w = rows.weights() + block.begin;
    Vector<T, L> sum[R] = {}, x;
    for (int i = 0; i < R && kAdding; ++i) fetch(sum[i], out + i * L);
    for (int32_t j = 0; j < block.entries; ++j, w += R) {
      fetch(x, from + int64_t{other[j]} * L);
      for (int i = 0; i < R; ++i) sum[i] += w[i] * x;
    }
    std::memcpy(out, sum, sizeof sum);
  }

  // Two rows of eight items in a vector of sixteen, item by item; their weights are one number of
  // twice the size.
  template <int R>
  GTNET_INLINE void in_pairs(const typename Rows<T>::Block& block) const {
    T* const out = sums + int64_t{block.row} * L;
    const int32_t* const other = rows.other() + block.other;
    const T* w = rows.weights() + block.begin;
    Vector<T, 16> sum[R / 2] = {}, late[R / 2] = {}, x;
    const auto add = [&](Vector<T, 16>(&to)[R / 2], int32_t j) __attribute__((always_inline)) {
      doubled(from + int64_t{other[j]} * L, x);
      for (int i = 0; i < R / 2; ++i) {
        int64_t pair;
        std::memcpy(&pair, w + j * R + 2 * i, sizeof pair);
        const Vector<int64_t, 8> pairs = {pair, pair, pair, pair, pair, pair, pair, pair};
        Vector<T, 16> weights;
        std::memcpy(&weights, &pairs, sizeof pairs);
        to[i] += weights * x;
      }
    };
    int32_t j = 0;
    for (; j + 2 <= block.entries; j += 2) {
      add(sum, j);
      add(late, j + 1);
    }
    if (j < block.entries) add(sum, j);
    for (int i = 0; i < R / 2; ++i) {
      sum[i] += late[i];
      parted(sum[i], out + 2 * i * L, kAdding);
    }
  }

  // Four sums side by side: one would wait for itself.
  GTNET_INLINE void alone(const typename Rows<T>::Block& block) const {
    T* const out = sums + int64_t{block.row} * L;
    const int32_t* const other = rows.other() + block.other;
    const T* const w = rows.weights() + block.begin;
    Vector<T, L> sum[4] = {}, x[4];
    if constexpr (kAdding) fetch(sum[0], out);
    int32_t j = 0;
    for (; j + 4 <= block.entries; j += 4) {
      for (int i = 0; i < 4; ++i) {
        fetch(x[i], from + int64_t{other[j + i]} * L);
        sum[i] += w[j + i] * x[i];
      }
    }
    for (; j < block.entries; ++j) {
      fetch(x[0], from + int64_t{other[j]} * L);
      sum[0] += w[j] * x[0];
    }
    sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    std::memcpy(out, sum, sizeof sum[0]);
  }
};

template <int L, bool kAdding, class T>
void multiply(const Rows<T>& rows, const T* from, T* sums) {
  if constexpr (L == 8 && std::is_same_v<T, float>) {
    if (registers_are_long()) return vectorized(Spmm<T, L, kAdding, true>{rows, from, sums});
  }
  vectorized(Spmm<T, L, kAdding, false>{rows, from, sums});
}

}  // namespace gtnet::lattice::interleaved
