// The best alignment of frames to the target of a CTC loss: max where `CtcPass` has a sum.
// Distances are kept at every so many cuts, and those between are found again on the way back
// (checkpoints, Griewank 1992; for Viterbi, Grice et al. 1997): a path can have come from few
// positions only.
#pragma once

#include <cmath>

#include "lattice/cpu/ctc.h"

namespace gtnet::lattice {

// The best scores of all positions at one cut.
struct CtcDistances {
  double *blank, *label;

  CtcDistances operator+(int64_t by) const { return {blank + by, label + by}; }
  void clear(int64_t position, int64_t count) const {
    std::fill_n(blank + position, count, kNegInf);
    std::fill_n(label + position, count, kNegInf);
  }
};

// to = one frame after `from`; `skip` is 0 where a label may follow the one before without a blank,
// elsewhere -inf.
template <class Score>
struct CtcBestStep {
  Window window;
  CtcDistances from, to;
  const double* skip;
  const int32_t* target;  // a label at every position, also where there is none
  const Score* row;
  int32_t blank;

  GTNET_INLINE void operator()() const {
    const auto of_blank = static_cast<double>(row[blank]);
    GTNET_SIMD()
    for (int32_t i = window.begin; i < window.end; ++i) {
      const double at_blank = from.blank[i], at_label = from.label[i], before = from.label[i - 1],
                   skipped = before + skip[i];
      const double above = at_label > at_blank ? at_label : at_blank;
      to.blank[i] = (before > at_blank ? before : at_blank) + of_blank;
      to.label[i] = (skipped > above ? skipped : above) + static_cast<double>(row[target[i]]);
    }
  }
};

template <class Score>
class CtcViterbi {
 public:
  explicit CtcViterbi(const CtcItem<Score>& item)
      : item_(item),
        width_(item.width()),
        every_(std::max(1, static_cast<int32_t>(std::sqrt(static_cast<double>(item.frames))))),
        skip_(width_),
        target_(width_, item.blank),
        numbers_(2 * (slots() * stride() + kMargin)) {
    std::fill_n(numbers_.begin() - kMargin, 2 * (slots() * stride() + 2 * kMargin), kNegInf);
    for (int32_t i = 0; i < width_; ++i) skip_.begin()[i] = item.skips_to(i) ? 0 : kNegInf;
    std::copy_n(item.target, item.length, target_.begin());
  }

  // The state of every frame: 2i for the blank before label i, 2i + 1 for that label. False, with
  // states that mean nothing, where there is no path.
  bool path(int32_t* states) {
    const auto frames = static_cast<int32_t>(item_.frames);
    at(0).blank[0] = 0;
    for (int32_t c = 1; c <= frames; ++c) advance(c, item_.window(c - 1));
    const CtcDistances last = at(frames);
    const int32_t length = item_.length;
    const double label = length > 0 ? last.label[length - 1] : kNegInf;
    if (!(std::max(label, last.blank[length]) > kNegInf)) return false;
    int32_t state = label >= last.blank[length] ? 2 * length - 1 : 2 * length;
    goes_back_ = true;
    for (int32_t cut = frames; cut > 0;) {
      block_ = (cut - 1) / every_ * every_;
      again(cut, state / 2);
      for (; cut > block_; --cut) {
        states[cut - 1] = state;
        state = before(at(cut - 1), state);
      }
    }
    return true;
  }

 private:
  const CtcItem<Score>& item_;
  const int32_t width_, every_;
  const Aligned<double> skip_;
  std::vector<int32_t> target_;
  const Aligned<double> numbers_;
  bool goes_back_ = false;
  int32_t block_ = 0;  // on the way back: the kept cut in front of those that were found again

  // Cuts that are kept, and room for those between two of them.
  int64_t kept() const { return item_.frames / every_ + 1; }
  int64_t slots() const { return kept() + std::max(2, every_); }
  int64_t stride() const { return width_ + kMargin; }

  // On the way forth only the last two are there, beside those kept.
  CtcDistances at(int32_t cut) const {
    const int64_t slot =
        cut % every_ == 0 ? cut / every_ : kept() + (goes_back_ ? cut - block_ - 1 : cut % 2);
    double* const blanks = numbers_.begin();
    return CtcDistances{blanks, blanks + slots() * stride() + kMargin} + slot * stride();
  }

  void advance(int32_t cut, Window window) {
    poll(window.end - window.begin);
    const CtcDistances to = at(cut);
    to.clear(window.begin - kLanes, kLanes);
    vectorized(CtcBestStep<Score>{window, at(cut - 1), to, skip_.begin(), target_.data(),
                                  item_.scores + (cut - 1) * item_.row_stride, item_.blank});
    to.clear(window.end, kLanes);
    // Behind the last blank there is no label.
    std::fill_n(to.label + item_.length, std::max(0, window.end - item_.length), kNegInf);
  }

  // The distances after block_ up to a cut, where a path to a position there can come from.
  void again(int32_t cut, int32_t position) {
    for (int32_t c = block_ + 1; c < cut; ++c) {
      const Window all = item_.window(c - 1);
      const int32_t first = std::max(0, position - (cut - c)) / kLanes * kLanes,
                    end = position / kLanes * kLanes + kLanes;
      advance(c, {std::max(all.begin, first), std::min(all.end, end)});
    }
  }

  // The state one frame earlier: of equal ones the highest.
  int32_t before(CtcDistances distances, int32_t state) const {
    const int32_t i = state / 2;
    const double above = distances.blank[i], below = distances.label[i - 1];
    if (state % 2 == 0) return below > above ? state - 1 : state;
    const double same = distances.label[i], skipped = below + skip_.begin()[i];
    if (same >= above && same >= skipped) return state;
    return skipped > above ? state - 2 : state - 1;
  }
};

}  // namespace gtnet::lattice
