// Whether two deterministic acceptors give every string the same score (Hopcroft & Karp 1971, with
// scores): states that must go on alike are merged, each with the constant it differs by.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"

namespace gtnet::rewrite {

// One graph, trimmed and deterministic: arcs of a state sorted by label, none impossible.
struct DeterministicView {
  Csr leaving;
  const int32_t* labels;  // at the positions of `leaving`
  const double *weights, *start, *accept;
  int32_t begin, end;
};

// Classes of states whose continuations f differ by constants: f(x) = offset(x) + f(root of x).
class OffsetClasses {
 public:
  explicit OffsetClasses(int32_t size) : parent_(size), offset_(size, 0) {
    for (int32_t x = 0; x < size; ++x) parent_[x] = x;
  }

  int32_t find(int32_t x) {
    int32_t root = x;
    double total = 0;
    for (; parent_[root] != root; root = parent_[root]) total += offset_[root];
    while (parent_[x] != root && x != root) {
      const int32_t next = parent_[x];
      const double step = offset_[x];
      parent_[x] = root;
      offset_[x] = total;
      total -= step;
      x = next;
    }
    return root;
  }

  // f(x) - f(root), after find(x).
  double offset(int32_t x) const { return offset_[x]; }

  void attach(int32_t root, int32_t to, double offset) {
    parent_[root] = to;
    offset_[root] = offset;
  }

 private:
  std::vector<int32_t> parent_;
  std::vector<double> offset_;
};

class Equivalence {
 public:
  Equivalence(const DeterministicView& a, const DeterministicView& b, double tolerance)
      : a_(a), b_(b), tolerance_(tolerance), classes_(a.end - a.begin + b.end - b.begin) {}

  bool run() {
    const int32_t p = only_start(a_), q = only_start(b_);
    if (p == kNone || q == kNone) return p == q;
    if (!merge(p, q, a_.start[p] - b_.start[q])) return false;
    while (!merged_.empty()) {
      const Difference next = merged_.back();
      merged_.pop_back();
      if (!alike(next)) return false;
    }
    return true;
  }

 private:
  struct Difference {
    int32_t p, q;  // states of a and of b
    double more;   // by how much q's continuations must exceed p's
  };

  static int32_t only_start(const DeterministicView& graph) {
    for (int32_t s = graph.begin; s < graph.end; ++s) {
      if (graph.start[s] > kNegInf) return s;
    }
    return kNone;
  }

  bool near(double x, double y) const { return std::abs(x - y) <= tolerance_; }

  bool merge(int32_t p, int32_t q, double more) {
    const int32_t x = p - a_.begin, y = q - b_.begin + a_.end - a_.begin;
    const int32_t root_x = classes_.find(x), root_y = classes_.find(y);
    const double gap = classes_.offset(y) - classes_.offset(x) - more;
    if (root_x == root_y) return near(gap, 0);
    classes_.attach(root_x, root_y, gap);
    merged_.push_back({p, q, more});
    return true;
  }

  bool alike(const Difference& d) {
    const double ends_a = a_.accept[d.p], ends_b = b_.accept[d.q];
    if ((ends_a == kNegInf) != (ends_b == kNegInf)) return false;
    if (ends_a != kNegInf && !near(ends_b - ends_a, d.more)) return false;
    const int32_t low_a = a_.leaving.offsets[d.p], low_b = b_.leaving.offsets[d.q];
    const int32_t degree = a_.leaving.offsets[d.p + 1] - low_a;
    if (degree != b_.leaving.offsets[d.q + 1] - low_b) return false;
    poll(8 * (degree + 1));
    for (int32_t k = 0; k < degree; ++k) {
      const int32_t i = low_a + k, j = low_b + k;
      if (a_.labels[i] != b_.labels[j]) return false;
      const double more = a_.weights[a_.leaving.arcs[i]] + d.more - b_.weights[b_.leaving.arcs[j]];
      if (!merge(a_.leaving.states[i], b_.leaving.states[j], more)) return false;
    }
    return true;
  }

  const DeterministicView a_, b_;
  const double tolerance_;
  OffsetClasses classes_;
  std::vector<Difference> merged_;
};

}  // namespace gtnet::rewrite
