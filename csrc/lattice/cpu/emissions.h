// The emissions of a frame or a segment, read for the labels of a graph.
#pragma once

#include <limits>
#include <vector>

#include "core/extremes.h"
#include "lattice/cpu/segmentation.h"
#include "lattice/cpu/spmv_extended.h"

namespace gtnet::lattice {

// One item of a batch: its frames or segments and its graph, as the caller's arrays.
template <class Score>
struct LatticeItem {
  layout::TransitionRows steps;
  int32_t num_states, num_arcs;
  const Score *weights, *start, *accept;
  Cuts cuts;
  const Score* scores;  // [rows, num_labels], rows so far apart
  int64_t row_stride, num_labels;

  const Score* row(int32_t segment) const { return scores + cuts.row[segment] * row_stride; }
};

// exp(x - top) for -kNarrow <= x - top <= 0, or x = -inf.
GTNET_INLINE float exp_below(float x, float top) {
  // The difference and what rounding took from it (Knuth 1969), so that large scores cancel.
  const float known = x == -std::numeric_limits<float>::infinity() ? top : x;
  const float d = known - top, back = d - known;
  const float lost = (known - (d - back)) - (top + back);
  const float k = (d * 1.44269504f + detail::kRoundFloat) - detail::kRoundFloat;
  const float r = (d - k * 0.693359375f) + (lost + k * 2.12194440e-4f);
  const float p = detail::exp_series(r);
  const float power = std::bit_cast<float>((static_cast<int32_t>(k) + 127) << 23);
  return x == known ? p * power : 0.0f;
}

GTNET_INLINE double exp_below(double x, double top) {
  return exp_of<double>(x - top);
}

// Arrays by local label: what reads nothing stands in front of the vectors that hold the others.
struct LabelArray {
  static int64_t whole_vectors(int32_t labels) {
    return (int64_t{labels} - 1 + kLanes - 1) / kLanes * kLanes;
  }
  static int64_t size(int32_t labels) { return kLanes + whole_vectors(labels); }

  template <class Pointer>
  static Pointer first(Pointer begin) {
    return begin + (kLanes - 1);
  }
};

// Of rows no longer than this all is fetched, of longer ones what is read.
constexpr int64_t kFarApart = 256;

// Whether rows are worth fetching ahead: those that follow each other in memory, and of which all
// is needed, a processor fetches itself.
inline bool worth_fetching(int64_t row_size, int64_t row_stride) {
  return row_stride != row_size || row_size >= kFarApart;
}

// Fetches what is to be read of a row: `labels` [count].
template <class Score>
GTNET_INLINE void fetch(const Score* row, int64_t row_size, const int32_t* labels, int32_t count) {
  constexpr int64_t kFetched = 64 / sizeof(Score);
  if (row_size < kFarApart) {
    for (int64_t column = 0; column < row_size; column += kFetched) {
      __builtin_prefetch(row + column);
    }
  } else {
    for (int32_t l = 0; l < count; ++l) __builtin_prefetch(row + labels[l]);
  }
}

// factors[l] = exp(row[labels[l]] - top), and what is to be known about the row. Arrays are written
// in whole vectors: a scalar rest would cost more than all the others.
template <class T, class Score>
struct ReadRow {
  int32_t num_labels;
  const int32_t* labels;
  bool contiguous, all_there;  // labels follow each other; the row has every one of them
  const Score *row, *next;     // next: what to fetch meanwhile, or null
  int64_t row_size;
  Score* x;
  Numbers<T> factor;
  double *top, *spread;
  bool* valid;

  GTNET_INLINE void operator()() const {
    constexpr Score kInfinity = std::numeric_limits<Score>::infinity();
    const auto end = static_cast<int32_t>(1 + LabelArray::whole_vectors(num_labels));
    gather(end);
    SideBySide<Score> most(-kInfinity), least(kInfinity);
    SideBySide<int32_t> bad(0);
    const Score* const scores = x + 1;
    in_whole_lanes(end - 1, [&](int64_t l, int i) __attribute__((always_inline)) {
      const Score score = scores[l];
      bad.raise(i, score < kInfinity ? 0 : 1);  // NaN or +inf
      most.raise(i, score);
      least.lower(i, score == -kInfinity ? kInfinity : score);
    });
    const Score best = most.largest(), worst = least.smallest();
    const double shift = best == -kInfinity ? 0 : static_cast<double>(best);
    const double range = worst == kInfinity ? 0 : shift - static_cast<double>(worst);
    if (range > extended::Limits<T>::kNarrow) {
      // What lies further below makes the whole sum one that does not fit.
      constexpr double kLowest = -2 * extended::Limits<T>::kLimit;
      for (int32_t l = 1; l < end; ++l) {
        const double score = static_cast<double>(x[l]) - shift;
        extended::exp(score == kNegInf ? score : std::max(score, kLowest), factor.m[l],
                      factor.e[l]);
      }
    } else if constexpr (std::is_same_v<T, Score>) {
      const auto highest = static_cast<T>(shift);
      GTNET_SIMD()
      for (int32_t l = 1; l < end; ++l) factor.m[l] = exp_below(x[l], highest);
    } else {
      GTNET_SIMD()
      for (int32_t l = 1; l < end; ++l) {
        factor.m[l] = exp_of<T>(static_cast<double>(x[l]) - shift);
      }
    }
    for (int i = 0; i < kLanes; ++i) factor.m[layout::kNoLabel - i] = 1;
    factor.e[layout::kNoLabel] = 0;
    *top = shift;
    *spread = shift > kHighest ? std::numeric_limits<double>::infinity() : range;
    *valid = *valid && bad.largest() == 0;
  }

 private:
  static constexpr double kHighest =
      sizeof(Score) == 8 ? 0x1p1000 : 0x1p107;  // gtnet._checks.HIGHEST

  // Into x[1, end); what is no label any more repeats one.
  GTNET_INLINE void gather(int32_t end) const {
    if (num_labels == 1) return;
    if (!all_there) {
      for (int32_t l = 1; l < end; ++l) {
        const int32_t label = labels[l < num_labels ? l : 1];
        x[l] = label < row_size ? row[label] : -std::numeric_limits<Score>::infinity();
      }
      return;
    }
    int32_t l = 1;
    if (contiguous) {
      l += (num_labels - 1) / kLanes * kLanes;
      std::copy_n(row + labels[1], l - 1, x + 1);
    }
    GTNET_SIMD()
    for (int32_t i = l; i < end; ++i) x[i] = row[labels[i < num_labels ? i : 1]];
    // Long rows of labels that follow each other a processor fetches itself.
    if (next == nullptr || (contiguous && row_size >= kFarApart)) return;
    fetch(next, row_size, labels + 1, num_labels - 1);
  }
};

// Rows as they were read, kept for a second pass; factors are null where they are not kept.
template <class T>
struct KeptRows {
  T* factors;  // [segments] arrays by label
  double *top, *spread;

  // Makes a second pass see that the first one gave up.
  void refuse(int64_t segments) const {
    if (factors) std::fill_n(spread, segments, std::numeric_limits<double>::infinity());
  }
};

// Emissions of one segment for the labels of a graph, relative to the best of them: factors where
// their range is narrow, numbers with exponents where it is wide.
template <class T, class Score>
class FrameEmissions {
 public:
  double top = 0, spread = 0;
  bool valid = true;

  FrameEmissions(const LatticeItem<Score>& item, KeptRows<T> kept)
      : item_(item),
        steps_(item.steps),
        kept_(kept),
        size_(LabelArray::size(steps_.num_labels)),
        own_(size_),
        x_(size_),
        ones_(steps_.num_labels, 1) {
    const int32_t *const first = steps_.labels + 1, *const end = steps_.labels + steps_.num_labels;
    contiguous_ = true;
    is_far_ = worth_fetching(item.num_labels, item.row_stride);
    for (const int32_t* at = first; at < end; ++at) {
      contiguous_ = contiguous_ && *at == *first + (at - first);
      all_there_ = all_there_ && *at < item.num_labels;
    }
  }

  // The row of a segment; that of `next` is fetched meanwhile, if there is such a segment.
  void read(int32_t segment, int32_t next) {
    const bool fetched = 0 <= next && next < item_.cuts.num_segments();
    const Numbers<T> own = LabelArray::first(own_.begin()),
                     numbers{kept_.factors ? factors_of(segment) : own.m, own.e};
    numbers_ = numbers;
    vectorized(ReadRow<T, Score>{steps_.num_labels, steps_.labels, contiguous_, all_there_,
                                 item_.row(segment), fetched && is_far_ ? item_.row(next) : nullptr,
                                 item_.num_labels, LabelArray::first(x_.begin()), numbers, &top,
                                 &spread, &valid});
    if (kept_.factors) kept_.top[segment] = top, kept_.spread[segment] = spread;
  }

  // The same if it was read before: as it was kept, where that is all of it.
  void read_again(int32_t segment, int32_t next) {
    if (!kept_.factors || kept_.spread[segment] > extended::Limits<T>::kNarrow)
      return read(segment, next);
    numbers_ = {factors_of(segment), LabelArray::first(own_.begin()).e};
    top = kept_.top[segment];
    spread = kept_.spread[segment];
  }

  // No row is read for a segment that no path reaches.
  void leave_out(int32_t segment) {
    if (!kept_.factors) return;
    std::fill_n(kept_.factors + segment * size_, size_, T{0});
    kept_.top[segment] = kept_.spread[segment] = 0;
  }

  // What to multiply by on the way, and after that.
  const T* factors() const { return wide() ? ones_.data() : numbers_.m; }

  // All of it, as numbers.
  Numbers<T> numbers() const {
    if (!wide()) std::fill_n(numbers_.e, steps_.num_labels, Exponent<T>{0});
    return numbers_;
  }

  void scale_wide(Numbers<T> numbers) const {
    if (!wide()) return;
    for (int32_t p = 0; p < steps_.num_positions; ++p) {
      numbers.m[p] *= numbers_.m[steps_.label[p]];
      numbers.e[p] += numbers_.e[steps_.label[p]];
      extended::normalize(numbers.m[p], numbers.e[p]);
    }
  }

 private:
  const LatticeItem<Score>& item_;
  const layout::TransitionRows& steps_;
  const KeptRows<T> kept_;
  const int64_t size_;
  const Array<T> own_;
  const Aligned<Score> x_;
  const std::vector<T> ones_;
  bool contiguous_ = false, all_there_ = true, is_far_ = false;
  Numbers<T> numbers_{};

  T* factors_of(int32_t segment) const {
    return LabelArray::first(kept_.factors + segment * size_);
  }

  bool wide() const { return spread > extended::Limits<T>::kNarrow; }
};

}  // namespace gtnet::lattice
