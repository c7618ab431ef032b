// The lattice of what a beam search kept, by blocks of threads: beam/cpu/lattice.h, chunk after
// chunk, a block per item. Ways back meet in integers that order as distances do, so no order of
// threads changes them.
#pragma once

#include "beam/gpu/trace.h"

namespace gtnet::beam {

// The traces of a batch over one chunk of frames (TraceView of beam/cpu/lattice.h, for all items).
struct BeamChunk {
  int64_t frames;
  Span<const int64_t> lengths;
  Span<const int64_t> cuts, arc_cuts;  // [items, frames + 2]
  Span<const int32_t> states, sources, targets, arcs;
  Span<const float> slacks;

  GTNET_HD int64_t length(int64_t item) const {
    const int64_t given = lengths[item];
    return given < 0 ? 0 : given > frames ? frames : given;
  }
  GTNET_HD int64_t cut(int64_t item, int64_t c) const { return cuts[item * (frames + 2) + c]; }
  GTNET_HD int64_t arc_cut(int64_t item, int64_t c) const {
    return arc_cuts[item * (frames + 2) + c];
  }
  GTNET_HD int64_t count(int64_t item, int64_t c) const { return cut(item, c + 1) - cut(item, c); }
  GTNET_HD int64_t last(int64_t item) const { return cut(item, length(item)); }
  GTNET_HD int64_t end(int64_t item) const { return cut(item, length(item) + 1); }

  // The cut that owns token, or arc, k: the last that begins at or before it.
  GTNET_HD static int64_t owner(Span<const int64_t> begin, int64_t cuts, int64_t k) {
    int64_t low = 0, high = cuts - 1;
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      if (begin[middle] <= k) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }
  GTNET_HD int64_t cut_of_token(int64_t item, int64_t token) const {
    return owner(cuts.part(item * (frames + 2), frames + 2), length(item) + 1, token);
  }
  GTNET_HD int64_t cut_of_arc(int64_t item, int64_t arc) const {
    return owner(arc_cuts.part(item * (frames + 2), frames + 2), length(item) + 1, arc);
  }
};

// Where the ends of paths lie: those of the first chunk's first cut and of the last one's last.
struct BeamEnds {
  static constexpr int kThreads = 256;
  int64_t size;
  BeamChunk first, last;
  Span<int64_t> first_begin, last_begin;  // [items]

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    block.prefix_sums(
        size, parts, [=, this](int64_t i) { return first.count(i, 0); },
        [=, this](int64_t i, int64_t before) { first_begin[i] = before; });
    block.prefix_sums(
        size, parts, [=, this](int64_t i) { return last.end(i) - last.last(i); },
        [=, this](int64_t i, int64_t before) { last_begin[i] = before; });
  }
};

// How far the best way on from each token is behind the best path, in one chunk.
struct BeamLatticeBackward {
  static constexpr int kThreads = 512;
  BeamChunk chunk, next;  // next: null cuts where this is the last one
  double lattice_beam;
  Span<const int64_t> behind_next;
  Span<const double> ends;  // of the last cuts of the last chunk, from ends_begin on
  Span<const int64_t> ends_begin;
  Span<double> ends_behind;
  Span<int64_t> behind;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const BeamTraceShared shared(block);
    const int64_t item = block.index(), begin = chunk.cut(item, 0), last = chunk.last(item);
    const Span<int64_t> own = behind.part(begin, chunk.end(item) - begin);
    const int64_t before_last = last - begin, at_end = chunk.end(item) - last;
    block.each(before_last, [=](int64_t i) { own[i] = bits_of(-kNegInf); });
    const Span<int64_t> carried = own.part(before_last, at_end);
    if (next.cuts) {
      const Span<const int64_t> known = behind_next.part(next.cut(item, 0), at_end);
      block.each(at_end, [=](int64_t i) { carried[i] = known[i]; });
    } else {
      const Span<const double> scores = ends.part(ends_begin[item], at_end);
      const Span<double> far = ends_behind.part(ends_begin[item], at_end);
      const double best = block.reduce(
          at_end, kNegInf, shared.least, [=](int64_t i) { return scores[i]; },
          [](double a, double b) { return a > b ? a : b; });
      block.each(at_end, [=](int64_t i) {
        far[i] = best > kNegInf ? best - scores[i] : -kNegInf;
        carried[i] = bits_of(far[i]);
      });
    }
    block.sync();
    for (int64_t f = chunk.length(item); f >= 0; --f) {
      const int64_t first = chunk.arc_cut(item, f), count = chunk.arc_cut(item, f + 1) - first;
      const int64_t silent = first_silent(item, f);
      const auto follow = [=, this](int64_t k) {
        const double along = of_bits(Block::now(own[chunk.targets[k]])) + chunk.slacks[k];
        return reach<Block>(own[chunk.sources[k]], along, lattice_beam);
      };
      if (silent < first + count) {
        repeat(block, shared.more, [&](Span<int32_t> more) {
          block.each(first + count - silent, [=](int64_t i) {
            if (follow(silent + i)) Block::raise(more[0], 1);
          });
        });
      }
      block.each(silent - first, [=](int64_t i) { follow(first + i); });
      block.sync();
    }
  }

 private:
  // The arcs of a cut that read a frame come before those that leave a token of the cut itself.
  GTNET_HD int64_t first_silent(int64_t item, int64_t f) const {
    const int64_t here = chunk.cut(item, f) - chunk.cut(item, 0);
    int64_t low = chunk.arc_cut(item, f), high = chunk.arc_cut(item, f + 1);
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (chunk.sources[middle] < here) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

// What stays of one chunk: its tokens, but those of the first cut where the chunk before has them,
// and its arcs.
struct BeamLatticeKept {
  BeamChunk chunk;
  bool goes_on;  // from a chunk before
  double lattice_beam;
  Span<const int64_t> behind;

  GTNET_HD bool near(double far) const { return far <= lattice_beam && far < -kNegInf; }
  GTNET_HD int64_t first_token(int64_t item) const { return chunk.cut(item, goes_on ? 1 : 0); }
  GTNET_HD bool keeps_token(int64_t token) const { return near(of_bits(behind[token])); }
  GTNET_HD bool keeps_arc(int64_t item, int64_t arc) const {
    return near(of_bits(behind[chunk.cut(item, 0) + chunk.targets[arc]]) + chunk.slacks[arc]);
  }
};

struct BeamLatticeCount {
  static constexpr int kThreads = 512;
  BeamLatticeKept kept;
  int64_t chunks, number;      // which of so many this is
  Span<int64_t> states, arcs;  // [items, chunks]

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    const BeamLatticeKept here = kept;
    const int64_t item = block.index(), place = item * chunks + number;
    const int64_t first = here.first_token(item), first_arc = here.chunk.arc_cut(item, 0);
    const auto plus = [](int64_t a, int64_t b) { return a + b; };
    const int64_t num_states = block.reduce(
        here.chunk.end(item) - first, int64_t{0}, parts,
        [=](int64_t i) { return int64_t{here.keeps_token(first + i)}; }, plus);
    const int64_t num_arcs = block.reduce(
        here.chunk.arc_cut(item, here.chunk.length(item) + 1) - first_arc, int64_t{0}, parts,
        [=](int64_t i) { return int64_t{here.keeps_arc(item, first_arc + i)}; }, plus);
    block.each(1, [=, this](int64_t) {
      states[place] = num_states;
      arcs[place] = num_arcs;
    });
  }
};

struct BeamLatticeTotals {
  int64_t states, arcs;
};

// From counts [items, chunks]: where each begins, and the offsets of items.
struct BeamLatticeOffsets {
  static constexpr int kThreads = 256;
  int64_t size, chunks;
  Span<const int64_t> states, arcs;
  Span<int64_t> state_begin, arc_begin;      // [items, chunks]
  Span<int64_t> state_offsets, arc_offsets;  // [items + 1]
  Span<int64_t> totals;                      // [2]

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    sum(block, parts, states, state_begin, state_offsets, 0);
    sum(block, parts, arcs, arc_begin, arc_offsets, 1);
  }

 private:
  template <class Block>
  GTNET_KERNEL void sum(Block& block, Span<int64_t> parts, Span<const int64_t> counts,
                        Span<int64_t> begin, Span<int64_t> offsets, int kind) const {
    const int64_t total = block.prefix_sums(
        size * chunks, parts, [=](int64_t i) { return counts[i]; },
        [=, this](int64_t i, int64_t before) {
          begin[i] = before;
          if (i % chunks == 0) offsets[i / chunks] = before;
        });
    block.each(1, [=, this](int64_t) { offsets[size] = totals[kind] = total; });
  }
};

// Writes the states and arcs of one chunk; `number` of its tokens are those of their states.
struct BeamLatticeForward {
  static constexpr int kThreads = 512;
  BeamLatticeKept kept;
  BeamChunk before;  // the chunk before, if this one goes on from it
  Span<const int32_t> number_before;
  Span<int32_t> number;
  int64_t chunks, index;
  Span<const int64_t> state_begin, arc_begin, state_offsets;
  Span<int64_t> first_cut;  // [items] the cut with which the chunk begins, and then the next
  Span<const double> start_slack, ends_behind;
  Span<const int64_t> starts_begin, ends_begin;
  Span<int32_t> source, target, arc, frame;
  Span<int32_t> state, cut;
  Span<bool> starts, accepts;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> parts = block.template shared<int64_t>(kWarp);
    const BeamLatticeKept here = kept;
    const BeamChunk chunk = here.chunk;
    const int64_t item = block.index(), place = item * chunks + index;
    const int64_t begin = chunk.cut(item, 0), first = here.first_token(item);
    const int64_t cut_before = first_cut[item], own = state_offsets[item];
    if (here.goes_on) {
      const int64_t from = before.last(item);
      block.each(first - begin,
                 [=, this](int64_t i) { number[begin + i] = number_before[from + i]; });
    }
    block.prefix_sums(
        chunk.end(item) - first, parts, [=](int64_t i) { return here.keeps_token(first + i); },
        [=, this](int64_t i, int64_t count) {
          const int64_t token = first + i, at = state_begin[place] + count;
          const bool keeps = here.keeps_token(token);
          number[token] = keeps ? static_cast<int32_t>(at - own) : kNone;
          if (!keeps) return;
          const int64_t c = chunk.cut_of_token(item, token);
          state[at] = chunk.states[token];
          cut[at] = static_cast<int32_t>(cut_before + c);
          accepts[at] = false;
          starts[at] = !here.goes_on && c == 0 &&
                       here.near(of_bits(here.behind[token]) +
                                 start_slack[starts_begin[item] + token - begin]);
        });
    block.sync();
    const int64_t first_arc = chunk.arc_cut(item, 0);
    block.prefix_sums(
        chunk.arc_cut(item, chunk.length(item) + 1) - first_arc, parts,
        [=](int64_t i) { return here.keeps_arc(item, first_arc + i); },
        [=, this](int64_t i, int64_t count) {
          const int64_t k = first_arc + i, at = arc_begin[place] + count;
          if (!here.keeps_arc(item, k)) return;
          const int64_t c = chunk.cut_of_arc(item, k);
          const bool reads = chunk.sources[k] < chunk.cut(item, c) - begin;
          source[at] = number[begin + chunk.sources[k]];
          target[at] = number[begin + chunk.targets[k]];
          arc[at] = chunk.arcs[k];
          frame[at] = reads ? static_cast<int32_t>(cut_before + c - 1) : kNone;
        });
    const int64_t last = chunk.last(item);
    if (index == chunks - 1) {
      block.each(chunk.end(item) - last, [=, this](int64_t i) {
        const bool ends = here.near(ends_behind[ends_begin[item] + i]);
        if (ends && number[last + i] != kNone) accepts[own + number[last + i]] = true;
      });
    }
    block.each(1, [=, this](int64_t) { first_cut[item] = cut_before + chunk.length(item); });
  }
};

}  // namespace gtnet::beam
