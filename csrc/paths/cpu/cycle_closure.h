// The closure of a strongly connected component by state elimination (Gauss and Jordan over a
// closed semiring; Lehmann 1977): the pattern of the fill, found once for a topology, and the sums
// over all walks through the component under given weights.
#pragma once

#include <algorithm>
#include <limits>
#include <queue>
#include <utility>
#include <vector>

#include "core/interrupt.h"
#include "core/math.h"
#include "layout/components.h"

namespace gtnet::paths {

// The states of every component in the order of their elimination, and which entries of the
// matrix a[source, target] are ever nonzero on the way. Rows and columns are positions.
struct Pattern {
  const int32_t* pivots;    // the state at each position
  const int64_t* rows;      // position p owns entries [rows[p], rows[p + 1])
  const int32_t* columns;   // the position of each entry's target, ascending within a row
  const int64_t* diagonal;  // [states] the entry (p, p), where there are any
  const int64_t* entries;   // [arcs] the entry an arc within a component adds to, else kNone

  // Without entries, elimination would take too long.
  bool eliminates(CyclicComponent component) const {
    return rows[component.begin] < rows[component.end];
  }
};

// Numbers as they are: sums over walks may have signs, the matrix may not.
struct Real {
  static constexpr double kZero = 0;
  struct Sum {
    double total = 0;
    GTNET_INLINE void add(double x) { total += x; }
    GTNET_INLINE double value() const { return total; }
  };
  static GTNET_INLINE Sum sum(double x) { return {x}; }
  static GTNET_INLINE double times(double a, double b) { return a * b; }
  // 1 + a + a a + ...; a pivot that rounding brought to 0 counts as the least there is.
  static GTNET_INLINE double star(double a) {
    return 1 / std::max(1 - a, std::numeric_limits<double>::epsilon() / 2);
  }
  static GTNET_INLINE bool converges(double /*a*/) { return true; }
};

// The logs of numbers that are not negative.
struct Log {
  static constexpr double kZero = kNegInf;
  // A sum relative to the largest term so far.
  struct Sum {
    double largest = kNegInf, total = 0;
    GTNET_INLINE void add(double x) {
      if (x <= largest) {
        if (x != kNegInf) total += exp_of<double>(x - largest);
      } else {
        total = total * exp_of<double>(largest - x) + 1;
        largest = x;
      }
    }
    GTNET_INLINE double value() const {
      return total == 1 || largest == kNegInf ? largest : largest + std::log(total);
    }
  };
  static GTNET_INLINE Sum sum(double x) { return {x, x == kNegInf ? 0.0 : 1.0}; }
  static GTNET_INLINE double times(double a, double b) { return a + b; }
  static GTNET_INLINE double star(double a) { return a == kNegInf ? 0 : -std::log(-std::expm1(a)); }
  // Closer to 1 than this, no digit of the sum would be right.
  static constexpr double kRounding = 1e-14;
  static GTNET_INLINE bool converges(double a) { return a < -kRounding; }
};

// The closed component [begin, end): its matrix after elimination.
template <class Semiring>
class Closure {
 public:
  Closure(const Pattern& pattern, CyclicComponent component)
      : pattern_(pattern),
        begin_(component.begin),
        end_(component.end),
        first_(pattern.rows[component.begin]),
        values_(pattern.rows[component.end] - first_, Semiring::kZero),
        stars_(end_ - begin_) {}

  // Adds an arc, before factorize().
  GTNET_INLINE void add(int64_t entry, double weight) {
    auto total = Semiring::sum(values_[entry - first_]);
    total.add(weight);
    values_[entry - first_] = total.value();
  }

  // Eliminates position by position: a[i, j] += a[i, k] star(a[k, k]) a[k, j] for all k < i, j.
  // Returns the position whose cycles sum to infinity, kNone where all is well.
  GTNET_INLINE int32_t factorize() {
    std::vector<typename Semiring::Sum> work(end_ - begin_);
    for (int32_t i = begin_; i < end_; ++i) {
      for (int64_t e = row(i); e < row(i + 1); ++e) work[column(e)] = Semiring::sum(value(e));
      for (int64_t e = row(i); e < pattern_.diagonal[i]; ++e) {
        const int32_t k = column(e);
        value(e) = work[k].value();
        if (value(e) == Semiring::kZero) continue;
        poll(4 * (row(begin_ + k + 1) - pattern_.diagonal[begin_ + k]));
        const double factor = Semiring::times(value(e), stars_[k]);
        for (int64_t u = pattern_.diagonal[begin_ + k] + 1; u < row(begin_ + k + 1); ++u) {
          work[column(u)].add(Semiring::times(factor, value(u)));
        }
      }
      for (int64_t e = pattern_.diagonal[i]; e < row(i + 1); ++e)
        value(e) = work[column(e)].value();
      const double loop = value(pattern_.diagonal[i]);
      if (!Semiring::converges(loop)) return i;
      stars_[i - begin_] = Semiring::star(loop);
    }
    return kNone;
  }

  // x = b + x A, in place: what flows along the arcs.
  GTNET_INLINE void along(double* x) const {
    std::vector<typename Semiring::Sum> sums = summands(x);
    for (int32_t i = begin_; i < end_; ++i) {
      x[i - begin_] = Semiring::times(sums[i - begin_].value(), stars_[i - begin_]);
      for (int64_t e = pattern_.diagonal[i] + 1; e < row(i + 1); ++e) {
        sums[column(e)].add(Semiring::times(x[i - begin_], value(e)));
      }
    }
    std::fill(sums.begin(), sums.end(), typename Semiring::Sum{});
    for (int32_t i = end_; i-- > begin_;) {
      auto total = Semiring::sum(x[i - begin_]);
      total.add(Semiring::times(sums[i - begin_].value(), stars_[i - begin_]));
      x[i - begin_] = total.value();
      for (int64_t e = row(i); e < pattern_.diagonal[i]; ++e) {
        sums[column(e)].add(Semiring::times(x[i - begin_], value(e)));
      }
    }
  }

  // x = b + A x, in place: what flows against the arcs.
  GTNET_INLINE void against(double* x) const {
    for (int32_t i = begin_; i < end_; ++i) {
      auto total = Semiring::sum(x[i - begin_]);
      for (int64_t e = row(i); e < pattern_.diagonal[i]; ++e) {
        total.add(Semiring::times(value(e), x[column(e)]));
      }
      x[i - begin_] = Semiring::times(total.value(), stars_[i - begin_]);
    }
    for (int32_t i = end_; i-- > begin_;) {
      typename Semiring::Sum later;
      for (int64_t e = pattern_.diagonal[i] + 1; e < row(i + 1); ++e) {
        later.add(Semiring::times(value(e), x[column(e)]));
      }
      auto total = Semiring::sum(x[i - begin_]);
      total.add(Semiring::times(later.value(), stars_[i - begin_]));
      x[i - begin_] = total.value();
    }
  }

 private:
  GTNET_INLINE int64_t row(int32_t position) const { return pattern_.rows[position]; }
  GTNET_INLINE int32_t column(int64_t entry) const { return pattern_.columns[entry] - begin_; }
  GTNET_INLINE double value(int64_t entry) const { return values_[entry - first_]; }
  GTNET_INLINE double& value(int64_t entry) { return values_[entry - first_]; }

  GTNET_INLINE std::vector<typename Semiring::Sum> summands(const double* x) const {
    std::vector<typename Semiring::Sum> sums(end_ - begin_);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = Semiring::sum(x[i]);
    return sums;
  }

  const Pattern pattern_;
  const int32_t begin_, end_;
  const int64_t first_;
  std::vector<double> values_;
  std::vector<double> stars_;
};

// Pairs of states: a bit for each in small components, a hash table in large ones.
class PairSet {
 public:
  explicit PairSet(int64_t size) : size_(size), bits_(dense() ? size * size : 0, false) {}

  // Whether the pair is new.
  bool insert(int64_t i, int64_t j) {
    const int64_t key = i * size_ + j;
    if (!dense()) return insert(key);
    if (bits_[key]) return false;
    bits_[key] = true;
    return true;
  }

 private:
  static constexpr int64_t kMostDense = int64_t{1} << 14;

  bool dense() const { return size_ <= kMostDense; }

  // By linear probing, at most half full.
  bool insert(int64_t key) {
    if (2 * count_ >= static_cast<int64_t>(table_.size())) grow();
    int64_t& slot = *find(key);
    if (slot == key) return false;
    slot = key;
    ++count_;
    return true;
  }

  std::vector<int64_t>::iterator find(int64_t key) {
    const size_t mask = table_.size() - 1;
    size_t at = (static_cast<uint64_t>(key) * 0x9E3779B97F4A7C15u >> 20) & mask;
    while (table_[at] != kNone && table_[at] != key) at = (at + 1) & mask;
    return table_.begin() + static_cast<std::ptrdiff_t>(at);
  }

  void grow() {
    std::vector<int64_t> keys(std::max<size_t>(1024, 2 * table_.size()), kNone);
    std::swap(keys, table_);
    for (const int64_t key : keys) {
      if (key != kNone) *find(key) = key;
    }
  }

  const int64_t size_;
  std::vector<bool> bits_;
  std::vector<int64_t> table_;
  int64_t count_ = 0;
};

// Finds the order of elimination and the fill of one component: the state with the fewest pairs of
// an entering and a leaving neighbour goes next (Markowitz 1957). A trie whose words lead back to
// its root goes leaf by leaf, without fill. What is left is taken whole when every state of it has
// a quarter of the others before and behind it.
class Elimination {
 public:
  // Beyond this many steps, and so many for each arc, iteration is faster.
  static constexpr int64_t kMostSteps = int64_t{1} << 22, kMostStepsPerArc = 8;

  // `states` of the component, numbered locally by `local`, and the arcs that leave them.
  Elimination(const int32_t* states, int32_t size, const int32_t* offsets, const int32_t* targets,
              const std::vector<int32_t>& local, int32_t base)
      : size_(size),
        out_(size),
        in_(size),
        place_(size, kNone),
        degree_out_(size, 0),
        degree_in_(size, 0),
        pairs_(size) {
    for (int32_t i = 0; i < size; ++i) {
      for (int32_t k = offsets[states[i]]; k < offsets[states[i] + 1]; ++k) {
        const int32_t j = local[targets[k] - base];
        if (j != kNone) connect(i, j);
      }
    }
  }

  // Whether it takes few enough steps. Then `order()` and `columns_of()` describe it.
  bool run() {
    int64_t most_steps = kMostSteps;
    for (const int32_t degree : degree_out_) most_steps += kMostStepsPerArc * degree;
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
    for (int32_t i = 0; i < size_; ++i) candidates.emplace(cost(i), i);
    int64_t steps = 0;
    while (static_cast<int32_t>(order_.size()) < size_) {
      const auto [price, k] = candidates.top();
      candidates.pop();
      if (place_[k] != kNone || price != cost(k)) continue;
      const int64_t left = size_ - static_cast<int64_t>(order_.size());
      if (16 * price > (left - 1) * (left - 1)) {
        take_the_rest();
        return steps + left * left * left / 3 <= most_steps;
      }
      steps += price;
      if (steps > most_steps) return false;
      for (const int32_t i : eliminate(k)) candidates.emplace(cost(i), i);
    }
    return true;
  }

  const std::vector<int32_t>& order() const { return order_; }

  // The places, in the order of elimination and ascending, of the columns of the state at a place.
  std::vector<int32_t> columns_of(int32_t place) const {
    std::vector<int32_t> columns{place};
    for (const int32_t j : out_[order_[place]]) {
      if (place < whole_ || place_[j] < whole_) columns.push_back(place_[j]);
    }
    if (place >= whole_) {
      for (int32_t p = whole_; p < size_; ++p) {
        if (p != place) columns.push_back(p);
      }
    }
    std::sort(columns.begin(), columns.end());
    return columns;
  }

 private:
  using Candidate = std::pair<int64_t, int32_t>;

  int64_t cost(int32_t i) const { return static_cast<int64_t>(degree_in_[i]) * degree_out_[i]; }

  // The diagonal is always there, so an arc from a state to itself adds nothing.
  void connect(int32_t i, int32_t j) {
    if (i == j || !pairs_.insert(i, j)) return;
    out_[i].push_back(j);
    in_[j].push_back(i);
    ++degree_out_[i];
    ++degree_in_[j];
  }

  // Joins what leads to k with what k leads to; returns the neighbours, whose costs have changed.
  std::vector<int32_t> eliminate(int32_t k) {
    place_[k] = static_cast<int32_t>(order_.size());
    order_.push_back(k);
    const std::vector<int32_t> before = alive(in_[k]), after = alive(out_[k]);
    for (const int32_t i : before) --degree_out_[i];
    for (const int32_t j : after) --degree_in_[j];
    for (const int32_t i : before) {
      poll(8 * static_cast<int64_t>(after.size()));
      for (const int32_t j : after) connect(i, j);
    }
    std::vector<int32_t> changed(before);
    changed.insert(changed.end(), after.begin(), after.end());
    return changed;
  }

  std::vector<int32_t> alive(const std::vector<int32_t>& states) const {
    std::vector<int32_t> found;
    for (const int32_t s : states) {
      if (place_[s] == kNone) found.push_back(s);
    }
    return found;
  }

  void take_the_rest() {
    whole_ = static_cast<int32_t>(order_.size());
    for (int32_t i = 0; i < size_; ++i) {
      if (place_[i] != kNone) continue;
      place_[i] = static_cast<int32_t>(order_.size());
      order_.push_back(i);
    }
  }

  const int32_t size_;
  std::vector<std::vector<int32_t>> out_, in_;  // neighbours, eliminated ones among them
  std::vector<int32_t> place_, order_;
  std::vector<int32_t> degree_out_, degree_in_;  // of neighbours not yet eliminated
  PairSet pairs_;
  int32_t whole_ = std::numeric_limits<int32_t>::max();  // from this place on all pairs are there
};

}  // namespace gtnet::paths
