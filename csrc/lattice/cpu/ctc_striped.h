// The CTC loss of one item, as `CtcPass`, with positions striped over the lanes of vectors (Farrar
// 2007): position i is in lane i / slots, slot i % slots, so that the position before it is in the
// same lane, one slot before, but for the first slot. All numbers of a lane are doubles relative to
// one power of two, which is chosen anew every few frames: a step takes no exponents. Where the
// alphas of a lane are too far apart for that, the item is one for `CtcPass`.
//
// Why nothing is lost in silence: a position hands its chance of an alpha, at least 2^-73, to
// itself. So between two checks, each of which refuses what is below `kLeast`, no alpha falls below
// 2^-842, and powers of lanes beside each other are so near that nothing is lost on the way from
// one to the other but what is added to 2^100 times as much. Powers of betas are such that alpha *
// beta is the share of all paths: what becomes 0 there is the share of no path. What becomes too
// large makes shares that do not add up to 1, and is for `CtcPass` too.
#pragma once

#include <vector>

#include "core/extremes.h"
#include "core/flush_tiny.h"
#include "lattice/cpu/ctc.h"

namespace gtnet::lattice {

namespace striped {

constexpr int kVector = 8;                     // lanes come in whole vectors of doubles
constexpr int kFrames = 4;                     // that share the powers of their lanes
constexpr float kLowest = -50, kHighest = 20;  // scores lie between: chances from 2^-73 to 2^29
// The largest alpha of a lane lies in [2^kTop, 2^(kTop + 1)), and the smallest is no less than
// kLeast.
constexpr int32_t kTop = 200;
constexpr double kLeast = 0x1p-550;
// By how much the power of a lane may be above that of the lane behind it, and below it.
constexpr int32_t kAbove = 650, kBelow = 900;

GTNET_INLINE double power(int64_t exponent) {
  return extended::power_of_two<double>(std::clamp<int64_t>(exponent, -1023, 1000));
}

// Where the positions of an item are.
struct Stripes {
  int32_t slots, lanes;

  // So few positions in a lane that they are seldom far apart.
  explicit Stripes(int32_t length)
      : slots(0), lanes(kVector * (length / (kVector * kMostSlots) + 1)) {
    slots = length / lanes + 1;
  }

  int32_t width() const { return slots * lanes; }
  int32_t column(int32_t position) const { return position % slots * lanes + position / slots; }
  int32_t lane(int32_t position) const { return position / slots; }

 private:
  static constexpr int32_t kMostSlots = 12;
};

// The positions of a frame: labels with a slot on both sides for what other lanes hand over, and
// blanks with one behind.
struct Row {
  double* begin;
  int32_t width, lanes;

  Row(double* at, Stripes stripes) : begin(at), width(stripes.width()), lanes(stripes.lanes) {}
  static int64_t size(Stripes stripes) {
    return 2 * int64_t{stripes.width()} + 3 * int64_t{stripes.lanes};
  }
  GTNET_INLINE double* label() const { return begin + lanes; }
  GTNET_INLINE double* blank() const { return label() + width + lanes; }
};

// chance[i] = exp(row[labels[i]]), if all these are fit for it.
struct ReadChances {
  const int32_t* labels;
  int32_t width;
  const float *row, *next;  // next: what to fetch meanwhile, or null
  int64_t row_size;
  float* chance;
  bool* fits;

  GTNET_INLINE void operator()() const {
    const int32_t* const label = labels;
    const float* const scores = row;
    float* const to = chance;
    const int32_t count = width;
    int32_t far = 0;
    GTNET_SIMD(reduction(| : far))
    for (int32_t i = 0; i < count; ++i) {
      const float score = scores[label[i]];
      far |= kLowest <= score && score <= kHighest ? 0 : 1;  // NaN is far too
      to[i] = exp_of<float>(score);
    }
    *fits = far == 0;
    if (next != nullptr) fetch(next, row_size, labels, width);
  }
};

// to = one frame after `from`, as `CtcForward`.
struct Forward {
  Row from, to;
  const double* ratio;  // of the powers of the lane before and of each, and one behind
  const double* skip;   // 1 where a label may follow the one before without a blank, elsewhere 0
  const float* chance;  // of labels; of the blank:
  double of_blank;

  GTNET_INLINE void operator()() const {
    const double *const blank = from.blank(), *const label = from.label();
    double *const to_blank = to.blank(), *const to_label = to.label(), *const before = from.begin;
    const int32_t width = from.width, lanes = from.lanes;
    const double *const last = label + width - lanes - 1, *const by = ratio, *const skips = skip,
                        chance_of_blank = of_blank;
    const float* const chances = chance;
    for (int32_t v = 0; v < lanes; v += kVector) {
      GTNET_SIMD()
      for (int j = 0; j < kVector; ++j) before[v + j] = v + j > 0 ? last[v + j] * by[v + j] : 0;
    }
    GTNET_SIMD()
    for (int32_t i = 0; i < width; ++i) {
      const double come = before[i], here = blank[i], factor = chances[i];
      to_blank[i] = (here + come) * chance_of_blank;
      to_label[i] = (label[i] + here + come * skips[i]) * factor;
    }
  }
};

// The shares of all paths that are at each position, alpha * beta; and betas times chances, for the
// frame before.
struct Meet {
  Row alpha, beta, led;
  const float* chance;
  double of_blank;
  float* shares;  // of labels; summed:
  double *all_blanks, *all_labels;

  GTNET_INLINE void operator()() const {
    const double *const a_blank = alpha.blank(), *const a_label = alpha.label(),
                        *const b_blank = beta.blank(), *const b_label = beta.label(),
                        chance_of_blank = of_blank;
    double *const to_blank = led.blank(), *const to_label = led.label();
    const float* const chances = chance;
    float* const to = shares;
    const int32_t width = alpha.width;
    double blanks = 0, labels = 0;
    GTNET_SIMD(reduction(+ : blanks, labels))
    for (int32_t i = 0; i < width; ++i) {
      const double blank = b_blank[i], label = b_label[i], factor = chances[i];
      const double share = a_label[i] * label;
      blanks += a_blank[i] * blank;
      labels += share;
      to[i] = static_cast<float>(share);
      to_blank[i] = blank * chance_of_blank;
      to_label[i] = label * factor;
    }
    *all_blanks = blanks;
    *all_labels = labels;
  }
};

// beta = one frame before the one that `led` leads into, as `CtcBackward`.
struct Backward {
  Row led, beta;
  const double* ratio;  // as in `Forward`
  const double* skip;   // to the label behind

  GTNET_INLINE void operator()() const {
    double *const blank = led.blank(), *const label = led.label();
    hand_back(blank);
    hand_back(label);
    double *const to_blank = beta.blank(), *const to_label = beta.label();
    const int32_t width = led.width;
    const double *const next_blank = blank + led.lanes, *const next_label = label + led.lanes,
                        *const skips = skip;
    GTNET_SIMD()
    for (int32_t i = 0; i < width; ++i) {
      to_blank[i] = blank[i] + label[i];
      to_label[i] = label[i] + next_blank[i] + next_label[i] * skips[i];
    }
  }

 private:
  GTNET_INLINE void hand_back(double* values) const {
    double* const behind = values + led.width;
    const double *const first = values + 1, *const by = ratio + 1;
    const int32_t lanes = led.lanes;
    for (int32_t v = 0; v < lanes; v += kVector) {
      GTNET_SIMD()
      for (int j = 0; j < kVector; ++j) {
        behind[v + j] = v + j < lanes - 1 ? first[v + j] * by[v + j] : 0;
      }
    }
  }
};

struct Scale {
  Row row;
  const double* factors;  // of lanes

  GTNET_INLINE void operator()() const {
    double *const blank = row.blank(), *const label = row.label();
    const double* const by = factors;
    const int32_t width = row.width, lanes = row.lanes;
    for (int32_t v = 0; v < lanes; v += kVector) {
      for (int32_t s = v; s < width; s += lanes) {
        GTNET_SIMD()
        for (int j = 0; j < kVector; ++j) blank[s + j] *= by[v + j], label[s + j] *= by[v + j];
      }
    }
  }
};

// The largest number of every lane, and the smallest but 0.
struct Extremes {
  Row row;
  double *most, *least;

  GTNET_INLINE void operator()() const {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const double *const blank = row.blank(), *const label = row.label();
    const int32_t width = row.width, lanes = row.lanes;
    for (int32_t v = 0; v < lanes; v += kVector) {
      double high[kVector], low[kVector];
      for (int j = 0; j < kVector; ++j) high[j] = 0, low[j] = kInfinity;
      for (int32_t s = v; s < width; s += lanes) {
        GTNET_SIMD()
        for (int j = 0; j < kVector; ++j) {
          const double b = blank[s + j], l = label[s + j];
          const double lower = b == 0 ? kInfinity : b, other = l == 0 ? kInfinity : l;
          high[j] = Larger{}(high[j], Larger{}(b, l));
          low[j] = Smaller{}(low[j], Smaller{}(lower, other));
        }
      }
      std::copy_n(high, kVector, most + v);
      std::copy_n(low, kVector, least + v);
    }
  }
};

}  // namespace striped

// Both passes over one item with scores in float32.
class CtcStriped {
  using Row = striped::Row;
  static constexpr int kFrames = striped::kFrames;

 public:
  // How many columns the shares of an item have: a whole number of vectors.
  static int32_t width(int32_t length) { return striped::Stripes(length).width(); }

  CtcStriped(const CtcItem<float>& item, bool keep)
      : item_(item),
        stripes_(item.length),
        columns_(stripes_.width(), item.blank),
        blank_column_(stripes_.column(item.length)),
        block_(keep ? block(item.frames, stripes_) : 2),
        skip_(stripes_.width()),
        skip_next_(stripes_.width()),
        lanes_(3 * stripes_.lanes + 1),
        chances_((keep ? item.frames : 2) * stripes_.width(), false),
        start_(Row::size(stripes_)),
        alphas_(block_ * Row::size(stripes_), false),
        last_(keep ? item.frames / block_ * Row::size(stripes_) : 0, false),
        keep_(keep),
        powers_((item.frames + kFrames - 1) / kFrames * stripes_.lanes),
        reached_((item.frames + kFrames - 1) / kFrames) {
    for (int32_t i = 0; i < item.length; ++i) {
      columns_[stripes_.column(i)] = item.target[i];
      if (!item.skips_to(i)) continue;
      skip_.begin()[stripes_.column(i)] = skip_next_.begin()[stripes_.column(i - 1)] = 1;
    }
  }

  // The label of every column; those of no label have the blank, the first of them for all blanks.
  const std::vector<int32_t>& columns() const { return columns_; }

  // What does not fit is for `CtcPass`, which also knows what is valid.
  LatticeScore forward() {
    constexpr LatticeScore kUnfit{kNegInf, false, true};
    if (item_.frames < std::max(1, item_.length)) return kUnfit;
    const FlushTiny flush;
    Row from = before(0);
    from.blank()[0] = 1;
    for (int64_t t = 0; t < item_.frames; ++t) {
      if (!read(t) || !step(t, from)) return kUnfit;
      if (keep_ && (t + 1) % block_ == 0) {
        std::copy_n(from.begin, Row::size(stripes_), before(t / block_ + 1).begin);
      }
    }
    const int32_t length = item_.length;
    total_ = last(from.blank(), length);
    if (length > 0) total_ = total_ + last(from.label(), length - 1);
    extended::normalize(total_.m, total_.e);
    return {total_.log(), true, true};
  }

  // How probable the label of each column is, [frames, width]. Whether that could be told.
  bool backward(float* shares) {
    const int32_t width = stripes_.width();
    if (total_.m == 0) {
      std::fill_n(shares, item_.frames * width, 0.0f);
      return true;
    }
    const FlushTiny flush;
    const Aligned<double> betas(Row::size(stripes_)), leds(Row::size(stripes_));
    const Row beta(betas.begin(), stripes_), led(leds.begin(), stripes_);
    begin(beta.blank(), item_.length);
    if (item_.length > 0) begin(beta.label(), item_.length - 1);
    for (int64_t t = item_.frames; t-- > 0;) {
      poll(8 * width);
      if (t % block_ == block_ - 1 && t != item_.frames - 1) again(t / block_);
      const float* const chance = chances(t);
      float* const row = shares + t * width;
      double of_blank = 0, of_labels = 0;
      vectorized(striped::Meet{alpha(t), beta, led, chance, chance[blank_column_], row, &of_blank,
                               &of_labels});
      // All paths go through a frame.
      if (!(std::abs(of_blank + of_labels - 1) < kTolerance)) return false;
      row[blank_column_] = static_cast<float>(of_blank);
      if (t == 0) break;
      vectorized(striped::Backward{led, beta, ratio(), skip_next_.begin()});
      if (t % kFrames == 0) carry(t, beta);
    }
    return true;
  }

 private:
  static constexpr double kTolerance = 1e-6;

  const CtcItem<float>& item_;
  const striped::Stripes stripes_;
  std::vector<int32_t> columns_;
  const int32_t blank_column_;
  const int64_t block_;                     // frames whose alphas are in memory at once
  const Aligned<double> skip_, skip_next_;  // to the label of a column, and to that behind it
  const Aligned<double> lanes_;             // what is known of each lane
  const Aligned<float> chances_;
  const Aligned<double> start_, alphas_, last_;  // last: alphas of the last frame of each block
  const bool keep_;                              // for `backward`
  // Of every kFrames frames: the powers of two that lanes are relative to, and how many lanes were
  // reached when these were chosen, as they are reached one after another.
  std::vector<int32_t> powers_, reached_;
  ExtendedFloat<double> total_ = ExtendedFloat<double>::zero();

  // As many as stay in a cache, in whole groups that share their powers.
  static int64_t block(int64_t frames, striped::Stripes stripes) {
    constexpr int64_t kCached = int64_t{1} << 17;  // numbers
    const int64_t groups = kCached / Row::size(stripes) / kFrames;
    return std::max<int64_t>(1, std::min(groups, frames / kFrames + 1)) * kFrames;
  }

  Row alpha(int64_t t) const {
    return {alphas_.begin() + t % block_ * Row::size(stripes_), stripes_};
  }
  float* chances(int64_t t) const {
    return chances_.begin() + (keep_ ? t : t % 2) * stripes_.width();
  }
  // The alphas before the first frame of a block.
  Row before(int64_t block) const {
    const int64_t size = Row::size(stripes_);
    return {block == 0 ? start_.begin() : last_.begin() + (block - 1) * size, stripes_};
  }
  int32_t* powers(int64_t t) { return powers_.data() + t / kFrames * stripes_.lanes; }
  double* ratio() const { return lanes_.begin() + 2 * stripes_.lanes; }

  bool read(int64_t t) const {
    const float* const scores = item_.scores + t * item_.row_stride;
    const bool ahead = t + 1 < item_.frames && worth_fetching(item_.num_labels, item_.row_stride);
    const float* const next = ahead ? scores + item_.row_stride : nullptr;
    bool fits = false;
    vectorized(striped::ReadChances{columns_.data(), stripes_.width(), scores, next,
                                    item_.num_labels, chances(t), &fits});
    return fits;
  }

  // One frame on. Whether its alphas are not too far apart.
  bool step(int64_t t, Row& alphas) {
    poll(4 * stripes_.width());
    const Row to = alpha(t);
    const float* const chance = chances(t);
    vectorized(striped::Forward{alphas, to, ratio(), skip_.begin(), chance, chance[blank_column_]});
    to.label()[blank_column_] = 0;  // behind the last blank there is no label
    alphas = to;
    return t % kFrames != 0 || rescale(t, to);
  }

  // Makes the alphas of a block once more, as they were.
  void again(int64_t block) {
    Row from = before(block);
    if (block > 0) compare(powers(block * block_ - 1));
    for (int64_t t = block * block_; t < (block + 1) * block_; ++t) step(t, from);
  }

  void compare(const int32_t* power) const {
    for (int32_t j = 1; j < stripes_.lanes; ++j)
      ratio()[j] = striped::power(power[j - 1] - power[j]);
  }

  // Makes the largest alpha of every lane one near 2^kTop. Lanes that are not reached get the power
  // of the last that is; those from which no path comes to the end in time are left out. Whether no
  // two alphas are too far apart.
  bool rescale(int64_t t, Row alphas) {
    const int32_t lanes = stripes_.lanes;
    double *const most = lanes_.begin(), *const least = most + lanes;
    vectorized(striped::Extremes{alphas, most, least});
    int32_t *const power = powers(t), &reached = reached_[t / kFrames];
    if (t > 0) std::copy_n(power - lanes, lanes, power);
    const int64_t too_early = std::max<int64_t>(0, item_.length - (item_.frames - t));
    const auto first = static_cast<int32_t>(too_early / stripes_.slots);
    std::fill_n(most, first, 0.0);
    bool fits = true;
    for (int32_t j = first; j < lanes; ++j) {
      if (most[j] == 0) {
        if (j > first) power[j] = power[j - 1];
        continue;
      }
      const auto exponent =
          static_cast<int32_t>(__builtin_bit_cast(uint64_t, most[j]) >> 52) - 1023 - striped::kTop;
      most[j] = striped::power(-exponent);
      power[j] += exponent;
      reached = j + 1;
      const int32_t above = j == first ? 0 : power[j - 1] - power[j];
      fits = fits && std::abs(exponent) < 1000 && least[j] * most[j] >= striped::kLeast &&
             -striped::kBelow <= above && above <= striped::kAbove;
    }
    vectorized(striped::Scale{alphas, most});
    compare(power);
    return fits;
  }

  // Makes the betas of a frame relative to the powers of the frames before.
  void carry(int64_t t, Row betas) {
    const int32_t *const from = powers(t), *const to = powers(t - 1);
    double* const factor = lanes_.begin();
    for (int32_t j = 0; j < stripes_.lanes; ++j) {
      factor[j] = j < reached_[t / kFrames] ? striped::power(to[j] - from[j]) : 0;
    }
    vectorized(striped::Scale{betas, factor});
    compare(to);
  }

  ExtendedFloat<double> last(const double* alphas, int32_t position) {
    const double x = alphas[stripes_.column(position)];
    if (x == 0) return ExtendedFloat<double>::zero();
    return {x, powers(item_.frames - 1)[stripes_.lane(position)]};
  }

  // The beta of a position in which paths may end.
  void begin(double* betas, int32_t position) {
    const int32_t power = powers(item_.frames - 1)[stripes_.lane(position)];
    betas[stripes_.column(position)] = striped::power(power - total_.e) / total_.m;
  }
};

}  // namespace gtnet::lattice
