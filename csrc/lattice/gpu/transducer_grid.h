// Sums over the alignments of transducers, a block for each item, row by row of its grid.
#pragma once

#include "block/workspace.h"
#include "core/span.h"
#include "lattice/transducer_rows.h"

namespace gtnet::lattice {

// The log of the sum over the alignments of each item, NaN where a score is NaN, +inf or too large;
// and how probable each step is, which stays 0 where there is no alignment and beyond an item.
template <class Score>
struct TransducerSums {
  static constexpr int kThreads = 256;
  static constexpr int64_t kBytes = 16;
  int64_t num_graphs, most, width, skew;
  Span<const Score> blank, label;       // [items, most, width]
  Span<const int64_t> frames, lengths;  // [items]
  Span<double> alpha;                   // [items, most rows + 1, width]
  Span<double> turns;                   // [items, 2, width + 1]
  Span<double> score;                   // [items]
  Span<Score> to_blank, to_label;       // as blank, 0 on entry; null where nobody asks

  GTNET_HD static int64_t most_rows(int64_t most, int64_t width, int64_t skew) {
    return most + skew * (width - 1);
  }

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int32_t> flags = block.template shared<int32_t>(1);
    for (int64_t item = block.index(); item < num_graphs; item += block.count()) {
      const TransducerRows rows{clipped(frames[item], most), clipped(lengths[item], width - 1),
                                width, skew};
      forward(block, item, rows, flags);
      const double total = block.seen(alphas(item, rows.count())[rows.labels]);
      const bool valid = block.seen(flags[0]) == 0;
      block.each(1, [=, this](int64_t) { score[item] = valid ? total : kNotANumber; });
      if (to_blank && valid && total > kNegInf) backward(block, item, rows);
    }
  }

 private:
  GTNET_HD static int64_t clipped(int64_t size, int64_t most) {
    return size < 0 ? 0 : size > most ? most : size;
  }
  GTNET_HD Span<double> alphas(int64_t item, int64_t d) const {
    return alpha.part((item * (most_rows(most, width, skew) + 1) + d) * width, width);
  }
  template <class T>
  GTNET_HD Span<T> own(Span<T> of_all, int64_t item) const {
    return of_all.part(item * most * width, most * width);
  }

  template <class Block>
  GTNET_KERNEL void forward(Block& block, int64_t item, const TransducerRows& rows,
                            Span<int32_t> flags) const {
    const Span<const Score> blanks = own(blank, item), next_labels = own(label, item);
    const Span<double> first = alphas(item, 0);
    block.each(1, [=](int64_t) { flags[0] = 0; });
    block.each(rows.labels + 1, [=](int64_t u) { first[u] = u == 0 ? 0 : kNegInf; });
    block.sync();
    for (int64_t d = 0; d < rows.count(); ++d) {
      const int64_t begin = rows.begin(d), end = rows.end(d);
      const Span<double> here = alphas(item, d), next = alphas(item, d + 1);
      const auto along = [=](Span<const Score> steps, int64_t u) {
        if (u < begin || u >= end) return kNegInf;
        const auto step = static_cast<double>(steps[rows.at(d, u)]);
        if (!(step <= kHighestStep<Score>)) Block::raise(flags[0], 1);
        return here[u] + step;
      };
      block.each(rows.labels + 1, [=](int64_t u) {
        next[u] = log_add(along(blanks, u), along(next_labels, u - 1));
      });
      block.sync();
    }
  }

  template <class Block>
  GTNET_KERNEL void backward(Block& block, int64_t item, const TransducerRows& rows) const {
    const Span<const Score> blanks = own(blank, item), next_labels = own(label, item);
    const Span<Score> stays_to = own(to_blank, item), writes_to = own(to_label, item);
    const block::Turns<double> shares{turns.part(item * 2 * (width + 1), 2 * (width + 1)),
                                      width + 1};
    const Span<double> last = shares[rows.count()];
    block.each(rows.labels + 2, [=](int64_t u) { last[u] = u == rows.labels ? 1 : 0; });
    block.sync();
    for (int64_t d = rows.count(); d-- > 0;) {
      const int64_t begin = rows.begin(d), end = rows.end(d);
      const Span<double> here = alphas(item, d), next = alphas(item, d + 1);
      const Span<double> now = shares[d], after = shares[d + 1];
      block.each(rows.labels + 2, [=](int64_t u) {
        double stays = 0, writes = 0;
        if (begin <= u && u < end) {
          const int64_t k = rows.at(d, u);
          const auto share = [=](Span<const Score> steps, int64_t to) {
            return after[to] * part_of_place(here[u] + static_cast<double>(steps[k]), next[to]);
          };
          stays = share(blanks, u);
          if (u < rows.labels) writes = share(next_labels, u + 1);
          stays_to[k] = static_cast<Score>(stays);
          writes_to[k] = static_cast<Score>(writes);
        }
        now[u] = stays + writes;
      });
      block.sync();
    }
  }
};

}  // namespace gtnet::lattice
