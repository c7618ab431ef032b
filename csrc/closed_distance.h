// Sums and maxima over all paths of graphs that may have cycles, closed exactly in each strongly
// connected component, and their gradients.
//
// Tropical: rounds of relaxation (Bellman 1958) within a component. Log: the same rounds give
// potentials phi; with x[s] = exp(alpha[s] - phi[s]), b of what enters the component and
// A[r, s] = exp(phi[r] + w - phi[s]) <= 1, the row x solves x = b + x A. DenseElimination of I - A
// without row exchanges adds positive numbers only, but for the pivots: they stay positive exactly
// if the sum over the cycles converges.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "topology.h"

namespace gtnet {

// The strongly connected components of one graph, sources first (Tarjan 1972, run against the
// arcs).
class Components {
 public:
  Components(const Incidence& entering, int32_t begin, int32_t end) : first_(begin) {
    const int32_t size = end - begin;
    component_.assign(size, kNone);
    place_.resize(size);
    states_.reserve(size);
    std::vector<int32_t> index(size, kNone), low(size), next(size), stack, calls;
    int32_t seen = 0;
    for (int32_t root = 0; root < size; ++root) {
      if (index[root] == kNone) calls.push_back(root);
      while (!calls.empty()) {
        const int32_t s = calls.back();
        if (index[s] == kNone) {
          index[s] = low[s] = seen++;
          next[s] = entering.offsets[begin + s];
          stack.push_back(s);
        }
        const int32_t end_of_s = entering.offsets[begin + s + 1];
        for (; next[s] < end_of_s; ++next[s]) {
          const int32_t r = entering.states[next[s]] - begin;
          if (index[r] == kNone) {
            calls.push_back(r);
            break;
          }
          if (component_[r] == kNone) low[s] = std::min(low[s], low[r]);
        }
        if (next[s] < end_of_s) continue;
        calls.pop_back();
        if (low[s] == index[s]) close(stack, s);
      }
    }
  }

  int32_t count() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  int32_t of(int32_t state) const { return component_[state - first_]; }
  int32_t place(int32_t state) const { return place_[state - first_]; }  // within its component
  const int32_t* begin(int32_t component) const { return states_.data() + offsets_[component]; }
  const int32_t* end(int32_t component) const { return begin(component + 1); }

 private:
  void close(std::vector<int32_t>& stack, int32_t last) {
    for (int32_t member = kNone; member != last; stack.pop_back()) {
      member = stack.back();
      component_[member] = count();
      place_[member] = static_cast<int32_t>(states_.size()) - offsets_.back();
      states_.push_back(first_ + member);
    }
    offsets_.push_back(static_cast<int32_t>(states_.size()));
  }

  int32_t first_;
  std::vector<int32_t> component_, place_, states_, offsets_{0};
};

// I - A of a component, its rows and columns in the order of its states, as a product L U.
class DenseElimination {
 public:
  DenseElimination(const Components& components, int32_t component, const Incidence& entering,
                   const double* weights, const double* phi)
      : size_(components.end(component) - components.begin(component)),
        m_(static_cast<size_t>(size_) * size_, 0) {
    for (int32_t i = 0; i < size_; ++i) at(i, i) = 1;
    for (const int32_t* s = components.begin(component); s != components.end(component); ++s) {
      if (phi[*s] == kNegInf) continue;
      for (int32_t k = entering.offsets[*s]; k < entering.offsets[*s + 1]; ++k) {
        const int32_t r = entering.states[k];
        if (components.of(r) != component) continue;
        const double part = std::exp(phi[r] + weights[entering.arcs[k]] - phi[*s]);
        at(components.place(r), components.place(*s)) -= part;
      }
    }
    for (int32_t i = 0; i < size_ && converges_; ++i) {
      converges_ = at(i, i) > kSmallestPivot;
      for (int32_t r = i + 1; r < size_; ++r) {
        const double factor = at(r, i) /= at(i, i);
        if (factor == 0) continue;
        for (int32_t s = i + 1; s < size_; ++s) at(r, s) -= factor * at(i, s);
      }
    }
  }

  bool converges() const { return converges_; }

  // The row x with x (I - A) = b, in place.
  void solve_row(std::vector<double>& b) const {
    for (int32_t r = 0; r < size_; ++r) {
      b[r] /= at(r, r);
      for (int32_t s = r + 1; s < size_; ++s) b[s] -= b[r] * at(r, s);
    }
    for (int32_t r = size_; r-- > 0;) {
      for (int32_t s = 0; s < r; ++s) b[s] -= b[r] * at(r, s);
    }
  }

  // The column y with (I - A) y = g, in place.
  void solve_column(std::vector<double>& g) const {
    for (int32_t r = 0; r < size_; ++r) {
      for (int32_t s = 0; s < r; ++s) g[r] -= at(r, s) * g[s];
    }
    for (int32_t r = size_; r-- > 0;) {
      for (int32_t s = r + 1; s < size_; ++s) g[r] -= at(r, s) * g[s];
      g[r] /= at(r, r);
    }
  }

 private:
  static constexpr double kSmallestPivot = 1e-12;  // rounding cannot tell less from divergence

  double& at(int32_t r, int32_t s) { return m_[static_cast<size_t>(r) * size_ + s]; }
  double at(int32_t r, int32_t s) const { return m_[static_cast<size_t>(r) * size_ + s]; }

  int32_t size_;
  std::vector<double> m_;
  bool converges_ = true;
};

// alpha[s] = sum over all paths from any state r to s of seed[r] + their weights, for one graph.
struct ClosedDistance {
  const int64_t* state_offsets;
  Incidence entering;
  const double* weights;
  const double* seeds;
  bool tropical;
  double* alpha;
  double* phi;         // the best path to each state; in the tropical semiring alpha itself
  int32_t* came_by;    // the position in `entering` of its last arc, or kNone
  int64_t* divergent;  // by graph: a state of a component whose sum diverges, or kNone

  void operator()(int64_t graph) const {
    const auto begin = static_cast<int32_t>(state_offsets[graph]);
    const auto end = static_cast<int32_t>(state_offsets[graph + 1]);
    divergent[graph] = kNone;
    const Components components(entering, begin, end);
    for (int32_t c = 0; c < components.count(); ++c) {
      if (maximize(components, c) && (tropical || sum(components, c))) continue;
      divergent[graph] = *std::min_element(components.begin(c), components.end(c));
      return;
    }
  }

 private:
  // phi of a component; false if a cycle makes every path through it better.
  bool maximize(const Components& components, int32_t c) const {
    bool cyclic = false;
    for (const int32_t* s = components.begin(c); s != components.end(c); ++s) {
      phi[*s] = seeds[*s];
      came_by[*s] = kNone;
      for (int32_t k = entering.offsets[*s]; k < entering.offsets[*s + 1]; ++k) {
        const int32_t r = entering.states[k];
        if (components.of(r) == c) {
          cyclic = true;
        } else if (alpha[r] + weights[entering.arcs[k]] > phi[*s]) {
          phi[*s] = alpha[r] + weights[entering.arcs[k]];
          came_by[*s] = k;
        }
      }
    }
    const auto size = components.end(c) - components.begin(c);
    bool changed = cyclic;
    for (int64_t round = 0; changed && round <= size; ++round) changed = relax(components, c);
    if (tropical) {
      for (const int32_t* s = components.begin(c); s != components.end(c); ++s) alpha[*s] = phi[*s];
    }
    return !changed;
  }

  bool relax(const Components& components, int32_t c) const {
    bool changed = false;
    for (const int32_t* s = components.begin(c); s != components.end(c); ++s) {
      for (int32_t k = entering.offsets[*s]; k < entering.offsets[*s + 1]; ++k) {
        const int32_t r = entering.states[k];
        if (components.of(r) != c || phi[r] == kNegInf) continue;
        const double through = phi[r] + weights[entering.arcs[k]];
        // Less than rounding is no improvement: a cycle of score 0 must not turn for ever.
        if (through > phi[*s] + 1e-13 * std::abs(through)) {
          phi[*s] = through;
          came_by[*s] = k;
          changed = true;
        }
      }
    }
    return changed;
  }

  bool sum(const Components& components, int32_t c) const {
    const int32_t* const states = components.begin(c);
    const auto size = static_cast<int32_t>(components.end(c) - states);
    std::vector<double> x(size, 0);
    bool cyclic = false;
    for (int32_t i = 0; i < size; ++i) {
      const int32_t s = states[i];
      if (phi[s] == kNegInf) continue;
      x[i] = std::exp(seeds[s] - phi[s]);
      for (int32_t k = entering.offsets[s]; k < entering.offsets[s + 1]; ++k) {
        const int32_t r = entering.states[k];
        if (components.of(r) == c) {
          cyclic = true;
        } else {
          x[i] += std::exp(alpha[r] + weights[entering.arcs[k]] - phi[s]);
        }
      }
    }
    if (cyclic) {
      const DenseElimination elimination(components, c, entering, weights, phi);
      if (!elimination.converges()) return false;
      elimination.solve_row(x);
    }
    for (int32_t i = 0; i < size; ++i) {
      alpha[states[i]] = x[i] > 0 ? phi[states[i]] + std::log(x[i]) : kNegInf;
    }
    return true;
  }
};

// The adjoint: flow[s] = d loss / d alpha[s]. A component hands y = (I - A)^-1 g on, where
// g[s] = flow[s] / x[s]: the arc r -> s gets exp(alpha[r] + w - phi[s]) y[s], and so does r if it
// lies outside; the seed of s gets exp(seed[s] - phi[s]) y[s].
struct ClosedDistanceGradient {
  const int64_t* state_offsets;
  Incidence entering;
  const double* weights;
  const double* seeds;
  bool tropical;
  const double* alpha;
  const double* phi;
  const int32_t* came_by;
  double* flow;  // the gradient of alpha on entry
  double* grad_weights;
  double* grad_seeds;

  void operator()(int64_t graph) const {
    const auto begin = static_cast<int32_t>(state_offsets[graph]);
    const auto end = static_cast<int32_t>(state_offsets[graph + 1]);
    for (int32_t k = entering.offsets[begin]; k < entering.offsets[end]; ++k) {
      grad_weights[entering.arcs[k]] = 0;
    }
    if (tropical) {
      down_the_tree(begin, end);
      return;
    }
    const Components components(entering, begin, end);
    for (int32_t c = components.count(); c-- > 0;) hand_on(components, c);
  }

 private:
  void hand_on(const Components& components, int32_t c) const {
    const int32_t* const states = components.begin(c);
    const auto size = static_cast<int32_t>(components.end(c) - states);
    std::vector<double> y(size, 0);
    bool cyclic = false;
    for (int32_t i = 0; i < size; ++i) {
      const int32_t s = states[i];
      if (alpha[s] != kNegInf) y[i] = flow[s] * std::exp(phi[s] - alpha[s]);
      for (int32_t k = entering.offsets[s]; k < entering.offsets[s + 1]; ++k) {
        cyclic = cyclic || components.of(entering.states[k]) == c;
      }
    }
    if (cyclic) DenseElimination(components, c, entering, weights, phi).solve_column(y);
    for (int32_t i = 0; i < size; ++i) {
      const int32_t s = states[i];
      grad_seeds[s] = 0;
      if (alpha[s] == kNegInf) continue;
      grad_seeds[s] = std::exp(seeds[s] - phi[s]) * y[i];
      for (int32_t k = entering.offsets[s]; k < entering.offsets[s + 1]; ++k) {
        const int32_t r = entering.states[k], arc = entering.arcs[k];
        const double part = std::exp(alpha[r] + weights[arc] - phi[s]) * y[i];
        grad_weights[arc] = part;
        if (components.of(r) != c) flow[r] += part;
      }
    }
  }

  // Every state hands its flow to the state it was best reached from, once its own is complete.
  void down_the_tree(int32_t begin, int32_t end) const {
    std::vector<int32_t> children(end - begin, 0), ready;
    for (int32_t s = begin; s < end; ++s) {
      if (came_by[s] != kNone) ++children[entering.states[came_by[s]] - begin];
    }
    for (int32_t s = begin; s < end; ++s) {
      if (children[s - begin] == 0) ready.push_back(s);
    }
    while (!ready.empty()) {
      const int32_t s = ready.back();
      ready.pop_back();
      const bool reached = alpha[s] != kNegInf;
      grad_seeds[s] = reached && came_by[s] == kNone ? flow[s] : 0;
      if (came_by[s] == kNone) continue;
      const int32_t r = entering.states[came_by[s]];
      grad_weights[entering.arcs[came_by[s]]] = flow[s];
      flow[r] += flow[s];
      if (--children[r - begin] == 0) ready.push_back(r);
    }
  }
};

}  // namespace gtnet
