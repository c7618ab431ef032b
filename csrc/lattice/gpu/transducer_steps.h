// The scores of blanks and labels taken out of rows of a network's outputs, normalized by the way,
// a warp for each row: no table of log-probabilities stands in memory, only the log of each row's
// sum.
#pragma once

#include "core/span.h"
#include "lattice/transducer_rows.h"

namespace gtnet::lattice {

// Outputs [items, frames, places, size] of a network; the label that follows each place [items, 1
// or frames, places]; the frames of each item.
template <class Score>
struct OutputGrid {
  int64_t rows, frames, places, size, blank, label_frames;
  Span<const Score> outputs;
  Span<const int32_t> labels;
  Span<const int64_t> read;

  GTNET_HD int32_t following(int64_t row) const {
    const int64_t place = row % places, t = row / places % frames, item = row / places / frames;
    if (t >= read[item]) return kUnread;
    return labels[(item * label_frames + (label_frames == 1 ? 0 : t)) * places + place];
  }
  GTNET_HD Span<const Score> at(int64_t row) const { return outputs.part(row * size, size); }
};

// The log of a sum of exponentials, as it grows: top + log(sum). NaN for NaN, +inf and for nothing
// but -inf.
template <class Score>
struct LogSum {
  Score top = static_cast<Score>(kNegInf), sum = 0;

  GTNET_HD static Score exp(Score x) { return exp_of<Score>(static_cast<double>(x)); }

  GTNET_HD void add(Score x) {
    if (!(x < static_cast<Score>(-kNegInf))) {
      sum = static_cast<Score>(kNotANumber);
    } else if (x > top) {
      sum = sum * exp(top - x) + 1;
      top = x;
    } else if (x > static_cast<Score>(kNegInf)) {
      sum += exp(x - top);
    }
  }
  GTNET_HD static LogSum both(const LogSum& a, const LogSum& b) {
    const LogSum &high = a.top < b.top ? b : a, &low = a.top < b.top ? a : b;
    const bool more = low.top > static_cast<Score>(kNegInf);
    return {high.top, high.sum + (more ? low.sum * exp(low.top - high.top) : low.sum)};
  }
  GTNET_HD double log() const {
    return sum > 0 ? static_cast<double>(top) + log_of(static_cast<double>(sum)) : kNotANumber;
  }
};

// What rows are shared out by.
struct RowsOfBlock {
  static constexpr int kThreads = 256;
  static constexpr int64_t kRows = 64;
};

// The scores of each row, -inf where there is none; `norm` is null for rows that are
// log-probabilities already.
template <class Score>
struct ReadSteps : RowsOfBlock {
  OutputGrid<Score> grid;
  Span<Score> blank, label, norm;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    using Sum = LogSum<Score>;
    const int64_t first = block.index() * kRows, left = grid.rows - first;
    block.template rows<kWarp>(
        0, static_cast<int32_t>(left < kRows ? left : kRows),
        [=, this](int32_t i, int lane) {
          Sum sum;
          if (!norm || grid.following(first + i) == kUnread) return sum;
          const Span<const Score> row = grid.at(first + i);
          for (int64_t v = lane; v < grid.size; v += kWarp) sum.add(row[v]);
          return sum;
        },
        [=, this](int32_t) { return static_cast<bool>(norm); },
        [](const Sum& a, const Sum& b) { return Sum::both(a, b); },
        [=, this](int32_t i, int lane, const Sum& sum) {
          if (lane > 0) return;
          const int32_t next = grid.following(first + i);
          const Span<const Score> row = grid.at(first + i);
          const double all = norm && next != kUnread ? sum.log() : 0;
          const auto less = [=](int64_t v) {
            return static_cast<Score>(static_cast<double>(row[v]) - all);
          };
          const auto none = static_cast<Score>(kNegInf);
          blank[first + i] = next == kUnread ? none : less(grid.blank);
          label[first + i] = next < 0 ? none : less(next);
          if (norm) norm[first + i] = static_cast<Score>(all);
        });
  }
};

// The gradient of the outputs from those of the scores.
template <class Score>
struct SpreadSteps : RowsOfBlock {
  OutputGrid<Score> grid;
  Span<const Score> blank, label, norm;
  Span<Score> to;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const int64_t first = block.index() * kRows, left = grid.rows - first;
    block.template rows<kWarp>(
        0, static_cast<int32_t>(left < kRows ? left : kRows),
        [=, this](int32_t i, int lane) {
          const int64_t at = first + i;
          const int32_t next = grid.following(at);
          const Score waited = next == kUnread ? Score{0} : blank[at],
                      wrote = next < 0 ? Score{0} : label[at], both = waited + wrote;
          const Span<const Score> row = grid.at(at);
          const Span<Score> grad = to.part(at * grid.size, grid.size);
          for (int64_t v = lane; v < grid.size; v += kWarp) {
            Score sum = 0;
            if (norm && both != 0) {
              const Score gap = row[v] - norm[at];
              // Rounding can make a probability a little more than 1.
              sum = -both * exp_of<Score>(static_cast<double>(gap < 0 ? gap : Score{0}));
            }
            if (v == grid.blank) sum += waited;
            if (v == next) sum += wrote;
            grad[v] = sum;
          }
          return 0;
        },
        [](int32_t) { return false; }, [](int a, int) { return a; }, [](int32_t, int, int) {});
  }
};

}  // namespace gtnet::lattice
