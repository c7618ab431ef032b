// The CTC loss of one item (Graves et al. 2006, section 4.1): forward and backward over the frames,
// where position i is the blank before label i of the target, or that label. Blanks and labels lie
// in arrays of their own, so that every step is a few vectors beside each other:
//   blank_t(i) = (blank(i) + label(i - 1)) * p_t(blank)
//   label_t(i) = (label(i) + blank(i) + label(i - 1) if it may be skipped to) * p_t(label i)
// Numbers have an exponent of their own, as those of lattices do, and no result differs from theirs
// but by rounding: this is what `LatticePass` does for this one topology, without reading it.
#pragma once

#include <vector>

#include "lattice/cpu/forward_backward.h"

namespace gtnet::lattice {

// A target and the frames of its item.
template <class Score>
struct CtcItem {
  const int32_t* target;
  int32_t length, blank;
  int64_t frames;
  const Score* scores;  // [frames, num_labels], rows so far apart
  int64_t row_stride, num_labels;

  // Positions, in whole vectors.
  int32_t width() const { return (length + kLanes) / kLanes * kLanes; }

  // Whether label i may follow the one before without a blank.
  bool skips_to(int32_t i) const { return 0 < i && i < length && target[i] != target[i - 1]; }

  // The positions that paths can be in at a frame.
  Window window(int64_t frame) const {
    const int64_t first = std::max<int64_t>(0, length - (frames - frame)),
                  last = std::min<int64_t>(length, frame) + 1;
    if (first >= last) return {0, 0};
    return {static_cast<int32_t>(first / kLanes * kLanes),
            static_cast<int32_t>((last + kLanes - 1) / kLanes * kLanes)};
  }
};

// The numbers of all positions at one frame.
template <class T>
struct CtcRow {
  Numbers<T> blank, label;

  CtcRow operator+(int64_t by) const { return {blank + by, label + by}; }
  void clear_lanes_at(int32_t position) const {
    clear_lanes(blank + position);
    clear_lanes(label + position);
  }
};

// to = one frame after `from`. `skip` is added to exponents: 0 where a label may follow the one
// before without a blank, elsewhere so little that nothing is left.
template <class T>
struct CtcForward {
  Window window;
  CtcRow<T> from, to;
  const Exponent<T>* skip;
  Numbers<T> chance;  // of label i; of the blank:
  T blank_m;
  Exponent<T> blank_e;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t i = window.begin; i < window.end; ++i) {
      const T before = from.label.m[i - 1];
      const Exponent<T> before_at = from.label.e[i - 1];
      T blank = from.blank.m[i], label = from.label.m[i];
      Exponent<T> blank_at = from.blank.e[i], label_at = from.label.e[i];
      extended::add(label, label_at, blank, blank_at);
      extended::add(label, label_at, before, before_at + skip[i]);
      extended::add(blank, blank_at, before, before_at);
      blank *= blank_m;
      blank_at += blank_e;
      extended::normalize(blank, blank_at);
      to.blank.m[i] = blank;
      to.blank.e[i] = blank_at;
      label *= chance.m[i];
      label_at += chance.e[i];
      extended::normalize(label, label_at);
      to.label.m[i] = label;
      to.label.e[i] = label_at;
    }
  }
};

// What a frame has of all paths, by position; and betas times chances, for the frame before.
template <class T>
struct CtcMeet {
  Window window;
  CtcRow<T> alpha, beta, led;
  Numbers<T> chance;
  T blank_m;
  Exponent<T> blank_e;
  T scale_m;
  Exponent<T> scale_e;
  T *blank_share, *label_share;  // of each position
  T *all_blanks, *all_labels;    // summed

  GTNET_INLINE void operator()() const {
    // Numbers of its own, which no row can be: Clang would compare the addresses of all rows.
    const T of_blank = blank_m, scale = scale_m;
    const Exponent<T> of_blank_at = blank_e, scale_at = scale_e;
    GTNET_SIMD()
    for (int32_t i = window.begin; i < window.end; ++i) {
      const T blank = beta.blank.m[i], label = beta.label.m[i];
      const Exponent<T> blank_at = beta.blank.e[i], label_at = beta.label.e[i];
      // What is 0 must have the exponent of 0, or it hides what it is added to.
      constexpr Exponent<T> kZero = extended::Limits<T>::kZero;
      const T led_blank = blank * of_blank, led_label = label * chance.m[i];
      const Exponent<T> led_blank_at = blank_at + of_blank_at,
                        led_label_at = label_at + chance.e[i];
      led.blank.m[i] = led_blank;
      led.blank.e[i] = led_blank == 0 ? kZero : led_blank_at;
      led.label.m[i] = led_label;
      led.label.e[i] = led_label == 0 ? kZero : led_label_at;
      blank_share[i] = alpha.blank.m[i] * blank * scale *
                       extended::power_of_two<T>(alpha.blank.e[i] + blank_at + scale_at);
      label_share[i] = alpha.label.m[i] * label * scale *
                       extended::power_of_two<T>(alpha.label.e[i] + label_at + scale_at);
    }
    *all_blanks = sum(blank_share);
    *all_labels = sum(label_share);
  }

 private:
  GTNET_INLINE T sum(const T* values) const {
    Lanes<T> sums{};
    for (int32_t i = window.begin; i < window.end; i += kLanes) {
      Lanes<T> lanes;
      load<T>(lanes, values + i);
      sums += lanes;
    }
    return sum_of<T>(sums);
  }
};

// beta = one frame before the one that `led` leads into.
template <class T>
struct CtcBackward {
  Window window;
  CtcRow<T> led, beta;
  const Exponent<T>* skip;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t i = window.begin; i < window.end; ++i) {
      T blank = led.blank.m[i], label = led.label.m[i];
      Exponent<T> blank_at = led.blank.e[i], label_at = led.label.e[i];
      extended::add(blank, blank_at, label, label_at);
      extended::normalize(blank, blank_at);
      beta.blank.m[i] = blank;
      beta.blank.e[i] = blank_at;
      extended::add(label, label_at, led.blank.m[i + 1], led.blank.e[i + 1]);
      extended::add(label, label_at, led.label.m[i + 1], led.label.e[i + 1] + skip[i + 1]);
      extended::normalize(label, label_at);
      beta.label.m[i] = label;
      beta.label.e[i] = label_at;
    }
  }
};

// Both passes over one item in arithmetic T.
template <class T, class Score>
class CtcPass {
  using E = Exponent<T>;

 public:
  explicit CtcPass(const CtcItem<Score>& item, bool keep)
      : item_(item),
        width_(item.width()),
        labels_(local_labels(item)),
        rows_(rows_of(item, labels_)),
        kept_factors_(keep ? item.frames * LabelArray::size(rows_.steps.num_labels) : 0, false),
        kept_doubles_(keep ? 2 * item.frames : 0),
        frame_(rows_, {keep ? kept_factors_.begin() : nullptr, kept_doubles_.data(),
                       kept_doubles_.data() + item.frames}),
        skip_(width_),
        blanks_(Array<T>::unwritten(slots(keep) * stride())),
        label_rows_(Array<T>::unwritten(slots(keep) * stride())),
        keep_(keep) {
    constexpr E kNever = 2 * extended::Limits<T>::kZero;  // below any 0
    for (int32_t i = 0; i < width_ + kMargin; ++i) skip_.begin()[i] = item.skips_to(i) ? 0 : kNever;
  }

  LatticeScore forward() {
    if (item_.frames < item_.length) return unreached();
    const Array<T> first_blanks(width_), no_labels(width_);
    first_blanks.begin().m[0] = 1;
    first_blanks.begin().e[0] = 0;
    CtcRow<T> from{first_blanks.begin(), no_labels.begin()};
    double offset = 0;
    for (int64_t t = 0; t < item_.frames; ++t) {
      poll(4 * width_);
      if (!read(t, t + 1)) return {kNegInf, false, frame_.valid};
      offset += frame_.top;
      const Numbers<T> chance = frame_.numbers() + 1;
      const Window window = item_.window(t);
      const CtcRow<T> to = alpha(t);
      to.clear_lanes_at(window.begin - kLanes);
      vectorized(CtcForward<T>{window, from, to, skip_.begin(), chance, chance.m[item_.length],
                               chance.e[item_.length]});
      to.clear_lanes_at(window.end);
      // Behind the last blank there is no label.
      Array<T>::clear(to.label + item_.length, std::max(0, window.end - item_.length));
      from = to;
    }
    const int32_t last = item_.length;
    total_ = {from.blank.m[last], from.blank.e[last]};
    if (last > 0) extended::add(total_.m, total_.e, from.label.m[last - 1], from.label.e[last - 1]);
    extended::normalize(total_.m, total_.e);
    return {total_.log() + offset, true, frame_.valid};
  }

  // The labels of the target, and then the blank.
  static std::vector<int32_t> columns(const CtcItem<Score>& item) {
    std::vector<int32_t> labels(item.target, item.target + item.length);
    labels.push_back(item.blank);
    return labels;
  }

  // How probable the label of each column is, [frames, width], of which those behind the first ones
  // are 0. Whether the arithmetic was good enough.
  bool backward(Score* shares, int64_t width) {
    const int32_t length = item_.length;
    if (total_.m == 0) {
      std::fill_n(shares, item_.frames * width, Score{0});
      return true;
    }
    const Array<T> blanks(width_), labels(width_), led_blanks(width_), led_labels(width_);
    const CtcRow<T> beta{blanks.begin(), labels.begin()},
        led{led_blanks.begin(), led_labels.begin()};
    beta.blank.m[length] = 1;
    beta.blank.e[length] = 0;
    if (length > 0) beta.label.m[length - 1] = 1, beta.label.e[length - 1] = 0;
    const Aligned<T> blank_share(width_), label_share(width_);
    for (int64_t t = item_.frames; t-- > 0;) {
      poll(8 * width_);
      frame_.read_again(static_cast<int32_t>(t), static_cast<int32_t>(t - 1));
      const Numbers<T> chance = frame_.numbers() + 1;
      const Window window = item_.window(t);
      T of_blank = 0, of_labels = 0;
      vectorized(CtcMeet<T>{window, alpha(t), beta, led, chance, chance.m[length], chance.e[length],
                            T{1} / total_.m, -total_.e, blank_share.begin(), label_share.begin(),
                            &of_blank, &of_labels});
      const T met = of_blank + of_labels;
      // All paths go through a frame: their shares are made to add up to 1.
      if (!(std::abs(static_cast<double>(met) - 1) < kTolerance)) return false;
      const T share = T{1} / met;
      Score* const row = shares + t * width;
      const int32_t first = std::min(window.begin, length), last = std::min(window.end, length);
      std::fill_n(row, first, Score{0});
      for (int32_t i = first; i < last; ++i)
        row[i] = static_cast<Score>(label_share.begin()[i] * share);
      std::fill(row + last, row + length, Score{0});
      row[length] = static_cast<Score>(of_blank * share);
      std::fill(row + length + 1, row + width, Score{0});
      if (t == 0) break;
      led.clear_lanes_at(window.begin - kLanes);
      led.clear_lanes_at(window.end);
      vectorized(CtcBackward<T>{item_.window(t - 1), led, beta, skip_.begin()});
    }
    return true;
  }

 private:
  static constexpr double kTolerance = 1e-4;

  const CtcItem<Score>& item_;
  const int32_t width_;  // positions, in whole vectors
  const std::vector<int32_t> labels_;
  const LatticeItem<Score> rows_;
  const Aligned<T> kept_factors_;
  std::vector<double> kept_doubles_;
  FrameEmissions<T, Score> frame_;
  const Aligned<E> skip_;
  const Array<T> blanks_, label_rows_;  // alphas
  const bool keep_;
  double spreads_ = 0;
  ExtendedFloat<T> total_ = ExtendedFloat<T>::zero();

  // The labels to be read of each frame, behind what stands for none.
  static std::vector<int32_t> local_labels(const CtcItem<Score>& item) {
    std::vector<int32_t> labels = columns(item);
    labels.insert(labels.begin(), 0);
    return labels;
  }

  static LatticeItem<Score> rows_of(const CtcItem<Score>& item,
                                    const std::vector<int32_t>& labels) {
    layout::TransitionRows steps{};
    steps.num_labels = static_cast<int32_t>(labels.size());
    steps.labels = labels.data();
    return {steps,
            0,
            0,
            nullptr,
            nullptr,
            nullptr,
            Cuts::chain(item.frames),
            item.scores,
            item.row_stride,
            item.num_labels};
  }

  // The first alphas are those of frame 0; without `keep` two frames take turns.
  int64_t slots(bool keep) const { return keep ? item_.frames : 2; }
  int64_t stride() const { return width_ + kLanes; }  // a vector of zeros between rows
  CtcRow<T> alpha(int64_t t) const {
    return CtcRow<T>{blanks_.begin(), label_rows_.begin()} + (keep_ ? t : t % 2) * stride();
  }

  // What too few frames give, once all of them were read.
  LatticeScore unreached() {
    bool fits = true;
    for (int64_t t = 0; t < item_.frames && fits; ++t) fits = read(t, t + 1);
    return {kNegInf, fits, frame_.valid};
  }

  // Reads a frame; false where exponents would run over.
  bool read(int64_t t, int64_t next) {
    frame_.read(static_cast<int32_t>(t), static_cast<int32_t>(next));
    spreads_ += frame_.spread;
    return spreads_ <= extended::Limits<T>::kLimit;
  }
};

}  // namespace gtnet::lattice
