// The best path through a chain of frames, with memory for a part of the distances only: those at
// every so many cuts are kept, and the ones between are found again, block by block from the end,
// as far as the path can have come (checkpoints, Griewank 1992; for Viterbi, Grice et al. 1997).
#pragma once

#include <cmath>

#include "lattice/cpu/band.h"
#include "lattice/cpu/viterbi.h"

namespace gtnet::lattice {

template <class Score>
class ChainViterbi {
 public:
  // `numbers` has room for room(item) doubles.
  ChainViterbi(const LatticeItem<Score>& item, double* numbers)
      : item_(item),
        size_(item.steps.num_positions),
        band_(item),
        step_(item),
        frames_(item.cuts.count - 1),
        every_(spacing(item, band_)),
        kept_(numbers + kMargin),
        between_(kept_ + (frames_ / every_ + 1) * size_) {
    std::fill_n(numbers, kMargin + size_, kNegInf);
    std::fill_n(kept_ + rows(frames_, every_) * size_, kMargin, kNegInf);
  }

  static int64_t room(const LatticeItem<Score>& item) {
    const int64_t every = spacing(item, ActiveBand(item));
    return rows(item.cuts.count - 1, every) * item.steps.num_positions + 2 * kMargin;
  }

  LatticePath path(const Predecessors<Score>& ways) {
    step_.complete(0, row(0));
    for (int32_t c = 1; c <= frames_; ++c) advance(c, band_.at(c));
    LatticePath path;
    const Window last = band_.at(frames_);
    each_end(item_, [&](int32_t c, int32_t s, double accept) {
      if (last.holds(s)) path.end_at(c, s, row(c)[s] + accept);
    });
    if (path.last == kNone) return path;
    int32_t cut = path.last_cut, position = path.last;
    const auto distance = [this](int32_t c, int32_t p) { return row(c)[p]; };
    goes_back_ = true;
    while (true) {
      block_ = every_ == 1 ? 0 : std::max(0, (cut - 1) / every_ * every_);
      again(cut, position);
      const int32_t before = cut;
      if (trace_back(ways, distance, block_, cut, position, path)) break;
      if (cut == before) return {};  // only NaN equals no candidate
    }
    path.turn(item_.cuts);
    return path;
  }

 private:
  const LatticeItem<Score>& item_;
  const int64_t size_;
  const ActiveBand band_;
  BestStep<Score> step_;
  const int32_t frames_, every_;
  double *const kept_, *const between_;
  bool goes_back_ = false;
  int32_t block_ = 0;  // on the way back: the kept cut in front of those that `between_` holds

  // Those kept, and those between two of them.
  static int64_t rows(int64_t frames, int64_t every) {
    return frames / every + 1 + (every > 1 ? every : 0);
  }

  // How many cuts apart distances are kept. All are where they fit into a processor's cache, and
  // where a path can come from anywhere: finding them again would take as long as the first time.
  static int32_t spacing(const LatticeItem<Score>& item, const ActiveBand& band) {
    constexpr int64_t kNear = 1 << 16;
    const int64_t frames = item.cuts.count - 1;
    if (!band.is_limited() || frames * item.steps.num_positions <= kNear) return 1;
    return static_cast<int32_t>(std::ceil(std::sqrt(static_cast<double>(frames))));
  }

  // The distances at a cut. On the way forth only the last two are there, beside those kept.
  double* row(int32_t cut) const {
    if (cut % every_ == 0) return kept_ + cut / every_ * size_;
    return between_ + (goes_back_ ? cut - block_ - 1 : cut % 2) * size_;
  }

  // The distances at a cut from those before it. Around the window nothing is reached: the next
  // ones look there.
  void advance(int32_t cut, Window window) {
    poll(4 * std::min<int64_t>(size_, window.end - window.begin));
    double* const to = row(cut);
    step_.along(cut - 1, row(cut - 1), to, window);
    step_.complete(cut, to);
    if (!band_.is_limited()) return;
    const int64_t around = item_.steps.up + item_.steps.down + 2 * kLanes;
    std::fill(to + std::max<int64_t>(window.begin - around, 0), to + window.begin, kNegInf);
    std::fill(to + window.end, to + std::min<int64_t>(window.end + around, size_), kNegInf);
  }

  // The part of a window that overlaps [first, last].
  static Window overlap(Window window, int64_t first, int64_t last) {
    const int64_t begin = std::max<int64_t>(first, 0) / kLanes * kLanes,
                  end = last / kLanes * kLanes + kLanes;
    return {static_cast<int32_t>(std::max<int64_t>(window.begin, begin)),
            static_cast<int32_t>(std::min<int64_t>(window.end, end))};
  }

  // The distances after block_ up to a cut, where a path to a position there can come from.
  void again(int32_t cut, int32_t position) {
    if (every_ == 1) return;
    for (int32_t c = block_ + 1; c <= cut && c % every_ != 0; ++c) {
      const int64_t left = cut - c;
      advance(c, overlap(band_.at(c), position - left * item_.steps.up,
                         position + left * item_.steps.down));
    }
  }
};

}  // namespace gtnet::lattice
