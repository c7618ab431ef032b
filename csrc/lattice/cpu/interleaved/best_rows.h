// Maxima over the arcs into every position for interleaved items, and which arc gave each. Rows of
// as many arcs are taken after one another, so that a processor never guesses where a row ends, and
// a row of one arc has nothing to remember.
#pragma once

#include <vector>

#include "lattice/cpu/interleaved/lanes.h"
#include "lattice/cpu/interleaved/spmm.h"

namespace gtnet::lattice::interleaved {

// Doubles of a register in most instruction sets that there are.
#ifdef __x86_64__
constexpr int kRegister = 4;
#else
constexpr int kRegister = 2;
#endif

// What so many entries further on read is brought near meanwhile: a processor alone looks less far.
constexpr int32_t kAhead = 32;

// The rows of a layout without padding. `came` says which arc of a row was best, the first of
// several: in as few bits as each of eight items needs for that.
template <class Score>
class BestRows {
 public:
  enum Kind : int32_t { kOne = 1, kTwo, kThree, kFour, kUpTo16, kUpTo256, kMore };  // arcs of a row
  struct Run {
    Kind kind;
    int32_t begin, end;  // rows
  };
  struct Row {
    int32_t position, label;
  };
  struct Place {
    int32_t entry, count;
    int64_t came;  // where its own begins, in bytes
  };
  struct Entry {
    Score weight;
    int32_t other;
  };

  // `layered`: a row may read what one before it wrote.
  BestRows(const layout::TransitionRows& steps, const layout::SlicedRows& layout,
           const Score* weights, bool layered)
      : row_of_(steps.num_positions, kNone) {
    std::vector<int32_t> order, count(steps.num_positions, 0), layer(steps.num_positions, 0);
    for_each_entry(layout, [&](int32_t row, int32_t other, int32_t) {
      if (count[row]++ == 0) order.push_back(row);
      if (layered) layer[row] = std::max(layer[row], layer[other] + 1);
    });
    for (size_t i = 0; i < order.size() && !layered; ++i) {
      layer[order[i]] = static_cast<int32_t>(i) / kTogether;
    }
    for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
      while (end < order.size() && layer[order[end]] == layer[order[begin]]) ++end;
      for (int32_t kind = kOne; kind <= kMore; ++kind) {
        for (size_t i = begin; i < end; ++i) {
          if (kind_of(count[order[i]]) == kind) add(order[i], count[order[i]], steps.label);
        }
      }
    }
    entries_.resize(num_entries_ + kAhead);
    arcs_.resize(num_entries_);
    std::vector<int32_t> next(rows_.size(), 0);
    for_each_entry(layout, [&](int32_t row, int32_t other, int32_t arc) {
      const int32_t k = row_of_[row], at = places_[k].entry + next[k]++;
      entries_[at] = {arc < 0 ? Score{0} : weights[arc], other};
      arcs_[at] = arc;
    });
  }

  const std::vector<Run>& runs() const { return runs_; }
  const Row* rows() const { return rows_.data(); }
  const Place* places() const { return places_.data(); }
  const Entry* entries() const { return entries_.data(); }
  int32_t arc(int64_t entry) const { return arcs_[entry]; }
  int64_t came_size() const { return came_; }  // bytes for eight items

  // Where the row of a position is, null if there is none.
  const Place* place_of(int32_t position) const {
    return row_of_[position] == kNone ? nullptr : &places_[row_of_[position]];
  }

  // The best entry of a row for an item, given what was written for a cut.
  int64_t best(const Place& row, int item, const unsigned char* came) const {
    const int bits = bits_of(kind_of(row.count));
    int64_t word = 0;
    if (bits == kWide) {
      std::memcpy(&word, came + row.came + 8 * item, 8);
      return row.entry + word;
    }
    std::memcpy(&word, came + row.came, bits);
    return row.entry + (word >> (bits * item) & ((int64_t{1} << bits) - 1));
  }

  static constexpr int kWide = 64;  // bits of a number that is alone
  static constexpr int bits_of(int32_t kind) {
    constexpr int kBits[] = {0, 0, 1, 2, 2, 4, 8, kWide};
    return kBits[kind];
  }

 private:
  static constexpr int32_t kTogether = 4096;  // rows that change places: near one another
  std::vector<Run> runs_;
  std::vector<Row> rows_;
  std::vector<Place> places_;
  std::vector<Entry> entries_;
  std::vector<int32_t> arcs_, row_of_;
  int32_t num_entries_ = 0;
  int64_t came_ = 0;

  static Kind kind_of(int32_t count) {
    return count <= kFour ? static_cast<Kind>(count)
           : count <= 16  ? kUpTo16
           : count <= 256 ? kUpTo256
                          : kMore;
  }

  void add(int32_t position, int32_t count, const int32_t* label) {
    const auto here = static_cast<int32_t>(rows_.size());
    const Kind kind = kind_of(count);
    if (runs_.empty() || runs_.back().kind != kind) runs_.push_back({kind, here, here});
    ++runs_.back().end;
    row_of_[position] = here;
    rows_.push_back({position, label[position]});
    places_.push_back({num_entries_, count, came_});
    num_entries_ += count;
    came_ += bits_of(kind);
  }
};

// to[p] = max over the arcs of its row of (from[other] + weight) + emission[label[p]], item by
// item; positions without a row are left as they are.
template <class Score, int L, bool kReading>
struct TakeBest {
  const BestRows<Score>& rows;
  const double *from, *emission;
  double* to;
  unsigned char* came;

  GTNET_INLINE void operator()() const {
    for (const auto& run : rows.runs()) {
#define GTNET_CASE(KIND, COUNT)                  \
  case Rows::KIND:                               \
    take<COUNT, Rows::bits_of(Rows::KIND)>(run); \
    break;
      switch (run.kind) {
        GTNET_CASE(kOne, 1)
        GTNET_CASE(kTwo, 2)
        GTNET_CASE(kThree, 3)
        GTNET_CASE(kFour, 4)
        GTNET_CASE(kUpTo16, 0)
        GTNET_CASE(kUpTo256, 0)
        GTNET_CASE(kMore, 0)
      }
#undef GTNET_CASE
    }
  }

 private:
  // Comparisons of vectors that are no register would be made number by number.
  static constexpr int W = kRegister, P = L / W;
  using Rows = BestRows<Score>;
  using Doubles = Vector<double, W>;
  using Words = Vector<int64_t, W>;

  // Rows of N arcs, 0 where each row says how many; so many bits say which was best.
  template <int N, int kBits>
  GTNET_INLINE void take(const typename Rows::Run& run) const {
    Words step[P];
    for (int i = 0; i < L; ++i) step[i / W][i % W] = int64_t{1} << (kBits * i % 64);
    const typename Rows::Row* const row = rows.rows();
    const typename Rows::Place* const place = rows.places();
    const typename Rows::Entry* entry = rows.entries() + place[run.begin].entry;
    unsigned char* which_at = came + place[run.begin].came;
    const double *const before = from, *const scores = emission;
    double* const after = to;
    const auto candidate = [&](int32_t j, int i, const Doubles& factor, Doubles& x)
                               __attribute__((always_inline)) {
                                 fetch(x, before + int64_t{entry[j].other} * L + i * W);
                                 x += static_cast<double>(entry[j].weight);
                                 if constexpr (kReading) x += factor;
                               };
    for (int32_t k = run.begin; k < run.end; ++k) {
      const int32_t count = N > 0 ? N : place[k].count;
      Doubles factor[P] = {}, best[P], x;
      for (int i = 0; i < P && kReading; ++i) {
        fetch(factor[i], scores + int64_t{row[k].label} * L + i * W);
      }
      for (int i = 0; i < P; ++i) candidate(0, i, factor[i], best[i]);
      if constexpr (N != 1) {
        Words which[P] = {}, here[P] = {};
        for (int32_t j = 1; j < count; ++j) {
          for (int i = 0; i < P; ++i) {
            candidate(j, i, factor[i], x);
            here[i] += step[i];
            which[i] = x > best[i] ? here[i] : which[i];
            best[i] = x > best[i] ? x : best[i];
          }
        }
        put_bits<kBits>(which, which_at);
        which_at += kBits;
      }
      for (int32_t j = kAhead; j < kAhead + count; ++j) {
        __builtin_prefetch(before + int64_t{entry[j].other} * L);
      }
      entry += count;
      for (int i = 0; i < P; ++i) put(best[i], after + int64_t{row[k].position} * L + i * W);
    }
  }

  // Every lane has bits of its own.
  template <int kBits>
  static GTNET_INLINE void put_bits(const Words (&which)[P], unsigned char* at) {
    if constexpr (kBits == Rows::kWide) {
      std::memcpy(at, which, sizeof which);
    } else {
      Vector<int64_t, 2> pairs{}, pair;
      for (int i = 0; i < L; i += 2) {
        fetch(pair, reinterpret_cast<const int64_t*>(which) + i);
        pairs |= pair;
      }
      const int64_t word = pairs[0] | pairs[1];
      std::memcpy(at, &word, kBits);
    }
  }
};

}  // namespace gtnet::lattice::interleaved
