// Sums over all walks through a large strongly connected component, by iteration, with a proof of
// their error.
//
// The system is x = b + A x with A, b >= 0, given by logs. Sweeps from below find the scale of each
// x. Relative to the scale s, P = A[i, j] s[j] / s[i] is a matrix of moderate numbers and the
// solution is about 1 everywhere, so that what is left of a residual is a relative error of each x.
//
// The proof is a w with (1 - P) w >= 1/2. If w > 0, then 1 - P has an inverse that is not negative,
// and a residual of at most r leaves an error of at most 2 r w (Varga 1962, section 3.5). If some
// w < 0, then v = max(-w, 0) has P v >= v, so the spectral radius is 1 or more and the sums diverge
// (Collatz 1942, Wielandt 1950). Rounding errors count as residuals.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "core/math.h"
#include "core/simd_dispatch.h"
#include "paths/cpu/gmres.h"
#include "paths/cpu/incomplete_elimination.h"

namespace gtnet::paths {

enum class Sums { kProven, kDivergent, kUnproven };

class ProvenSums {
 public:
  // Values of `a` are logs.
  explicit ProvenSums(SparseRows a) : a_(std::move(a)), p_(a_), size_(a_.size()) {}

  // x is b on entry and, where proven, the solution in the end; logs both.
  Sums operator()(double* x) {
    b_.assign(x, x + size_);
    scale_ = b_;
    const auto arcs = static_cast<int64_t>(a_.values.size());
    for (int64_t sweeps = 1; sweep(); ++sweeps) {
      const bool power_of_two = (sweeps & (sweeps - 1)) == 0;
      if (power_of_two && grows_from_below()) return Sums::kDivergent;
      if (sweeps >= kMostSweeps || sweeps * arcs > kMostSweptArcs) return Sums::kUnproven;
    }
    const Sums found = refine();
    if (found == Sums::kProven) std::copy(scale_.begin(), scale_.end(), x);
    return found;
  }

  // Of sums that diverge, a state on their cycles.
  int32_t witness() const { return witness_; }

 private:
  using Vector = std::vector<double>;

  static constexpr int64_t kMostSweeps = 1 << 10, kMostSweptArcs = int64_t{1} << 28;
  static constexpr int kMostRefinements = 30;
  static constexpr double kMostLog = 30;  // larger numbers only occur before the scale is found
  static constexpr double kUnit = std::numeric_limits<double>::epsilon() / 2;
  static constexpr double kMostError = 1e-5;  // what is known less well is refused
  // More and more of an elimination until the iteration converges.
  static constexpr IncompleteElimination::Precision kPrecisions[] = {
      {8, 0.05}, {32, 1e-2}, {128, 1e-4}, {512, 1e-6}};
  static constexpr int64_t kMostKept = int64_t{1} << 26;

  // One sweep of Gauss and Seidel over scale_, which stays below the solution. False where no state
  // gained more than a factor of e, and the scale is good enough to compute with plain numbers.
  bool sweep() {
    bool gained = false;
    const auto body = [&]() __attribute__((always_inline)) {
      for (int32_t i = 0; i < size_; ++i) {
        const int64_t begin = a_.offsets[i], end = a_.offsets[i + 1];
        double best = b_[i];
        for (int64_t e = begin; e < end; ++e) best = std::max(best, through(e));
        if (best == kNegInf) continue;
        double total = exp_of<double>(b_[i] - best);
        for (int64_t e = begin; e < end; ++e) total += exp_of<double>(through(e) - best);
        const double sum = best + log_of(total);
        gained = gained || sum > scale_[i] + 1;
        scale_[i] = std::max(scale_[i], sum);
      }
    };
    vectorized(body);
    return gained;
  }

  double through(int64_t e) const { return scale_[a_.columns[e]] + a_.values[e]; }

  // The matrix and b relative to the scale, and the rounding errors of a row times a vector of
  // ones. What nothing reaches stands alone.
  void rescale() {
    near_.assign(size_, 0);
    rounding_.assign(size_, 0);
    const auto body = [&]() __attribute__((always_inline)) {
      for (int32_t i = 0; i < size_; ++i) {
        const int64_t begin = a_.offsets[i], end = a_.offsets[i + 1];
        if (scale_[i] == kNegInf) {
          near_[i] = 1;
          for (int64_t e = begin; e < end; ++e) p_.values[e] = 0;
          continue;
        }
        near_[i] = exp_of<double>(b_[i] - scale_[i]);
        double largest = b_[i] == kNegInf ? 0 : std::abs(b_[i]);
        for (int64_t e = begin; e < end; ++e) {
          p_.values[e] = exp_of<double>(std::min(through(e) - scale_[i], kMostLog));
        }
        for (int64_t e = begin; e < end; ++e) {
          if (p_.values[e] == 0) continue;
          largest = std::max({largest, std::abs(scale_[a_.columns[e]]), std::abs(through(e))});
        }
        largest = std::max(largest, std::abs(scale_[i]));
        rounding_[i] = kUnit * (8 + static_cast<double>(end - begin) + 2 * largest);
      }
    };
    vectorized(body);
  }

  // y = (shift - P) x; and how far rounding may have moved each y.
  void apply(double shift, const Vector& x, Vector& y, Vector* moved = nullptr) const {
    for (int32_t i = 0; i < size_; ++i) {
      double total = 0, absolute = 0;
      for (int64_t e = p_.offsets[i]; e < p_.offsets[i + 1]; ++e) {
        const double term = p_.values[e] * x[p_.columns[e]];
        total += term;
        absolute += std::abs(term);
      }
      y[i] = shift * x[i] - total;
      if (moved) (*moved)[i] = rounding_[i] * (std::abs(x[i]) + absolute);
    }
  }

  bool solve(const IncompleteElimination& eliminated, double shift, const Vector& rest,
             double tolerance, Vector& x) const {
    const auto times = [&](const Vector& from, Vector& to) { apply(shift, from, to); };
    const auto inverse = [&](double* values) { eliminated.solve(values); };
    return Gmres(times, inverse, size_)(rest, tolerance, x);
  }

  // (1 - P) x = rest. Where that fails, more of the elimination is kept, from now on.
  bool solve(const Vector& rest, double tolerance, Vector& x) {
    for (;; ++precision_) {
      if (!eliminated_) eliminated_.emplace(p_, 1, kPrecisions[precision_]);
      if (solve(*eliminated_, 1, rest, tolerance, x)) return true;
      if (precision_ + 1 == std::size(kPrecisions)) return false;
      if (int64_t{size_} * kPrecisions[precision_ + 1].fill > kMostKept) return false;
      eliminated_.reset();
    }
  }

  // Newton's iteration on the logs: every step multiplies the scale by what the residuals ask for.
  Sums refine() {
    double last = std::numeric_limits<double>::infinity();
    Vector residual(size_), change;
    rescale();
    if (grows(Vector(size_, 1))) return Sums::kDivergent;
    for (int refinement = 0; refinement < kMostRefinements; ++refinement) {
      const double largest = residuals(residual);
      if (largest == 0 || (largest < 0.1 && largest > last / 2)) return settle(largest);
      last = largest;
      if (!solve(residual, kTolerance, change)) break;
      if (refinement == 0 && *std::min_element(change.begin(), change.end()) < kBelow) {
        // The scale is below every solution, so there may be none.
        Vector below(size_);
        for (int32_t i = 0; i < size_; ++i) below[i] = std::max(-change[i], 0.0);
        if (grows(below) || prove() == Sums::kDivergent) return Sums::kDivergent;
      }
      double most = 0;
      for (int32_t i = 0; i < size_; ++i) {
        const double least = refinement == 0 ? 0 : kLeastChange - 1;
        const double by = std::log1p(std::max(change[i], least));
        scale_[i] += by;
        most = std::max(most, std::abs(by));
      }
      if (most > 1) eliminated_.reset();
      rescale();
    }
    return near_one();
  }

  // The scale is the solution but for this residual and rounding.
  Sums settle(double residual) {
    const Sums found = prove();
    if (found == Sums::kUnproven) return near_one();
    if (found == Sums::kDivergent) return found;
    const double error = 2 * (residual + rounding()) * largest_proof_;
    return error <= kMostError ? Sums::kProven : Sums::kUnproven;
  }

  static constexpr double kTolerance = 1e-5, kBelow = -0.01, kLeastChange = 1e-3;

  // What is left of x = b + P x at x = 1, and the largest of it.
  double residuals(Vector& residual) const {
    apply(1, Vector(size_, 1), residual);
    double largest = 0;
    for (int32_t i = 0; i < size_; ++i) {
      residual[i] = near_[i] - residual[i];
      largest = std::max(largest, std::abs(residual[i]));
    }
    return largest;
  }

  // How much of a residual rounding may hide.
  double rounding() const { return 1.5 * *std::max_element(rounding_.begin(), rounding_.end()); }

  // Whether the sums have a limit.
  Sums prove() {
    Vector w, image(size_), moved(size_);
    const double tolerance = 0.4 / std::sqrt(static_cast<double>(size_));
    if (!solve(Vector(size_, 1), tolerance, w)) return Sums::kUnproven;
    apply(1, w, image, &moved);
    for (int32_t i = 0; i < size_; ++i) {
      if (!(image[i] - moved[i] >= 0.5)) return Sums::kUnproven;
    }
    const auto [least, most] = std::minmax_element(w.begin(), w.end());
    largest_proof_ = *most;
    if (*least > 0) return Sums::kProven;
    witness_ = static_cast<int32_t>(least - w.begin());
    return Sums::kDivergent;
  }

  // Where no w is found: a few steps of inverse iteration just above 1 (Noda 1971) give a vector
  // that may show a spectral radius of 1 or more.
  Sums near_one() {
    const IncompleteElimination eliminated(p_, kAboveOne, kPrecisions[precision_]);
    Vector v(size_, 1), next;
    for (int step = 0; step < kInverseSteps; ++step) {
      solve(eliminated, kAboveOne, v, 1e-10, next);
      const double largest = *std::max_element(next.begin(), next.end());
      if (!(largest > 0)) break;
      for (int32_t i = 0; i < size_; ++i) v[i] = std::max(next[i] / largest, 0.0);
      if (grows(v)) return Sums::kDivergent;
    }
    return Sums::kUnproven;
  }

  static constexpr int kInverseSteps = 4;
  static constexpr double kAboveOne = 1 + 1e-5;

  bool grows_from_below() {
    rescale();
    return grows(Vector(size_, 1));
  }

  // Whether P v >= v on states that lead to one another, but for rounding: then the spectral radius
  // is 1 or more, or closer to 1 than rounding can tell. States where it fails are left out.
  bool grows(Vector v) {
    for (int32_t i = 0; i < size_; ++i) {
      if (scale_[i] == kNegInf) v[i] = 0;
    }
    Vector image(size_), moved(size_);
    for (int pass = 0; pass < kPasses; ++pass) {
      apply(1, v, image, &moved);
      bool shrank = false, empty = true;
      for (int32_t i = 0; i < size_; ++i) {
        if (v[i] == 0) continue;
        if (image[i] > moved[i]) {
          v[i] = 0;
          shrank = true;
        } else {
          empty = false;
        }
      }
      if (empty) return false;
      if (shrank) continue;
      witness_ = static_cast<int32_t>(std::max_element(v.begin(), v.end()) - v.begin());
      return true;
    }
    return false;
  }

  static constexpr int kPasses = 32;

  const SparseRows a_;  // logs
  SparseRows p_;        // relative to the scale
  const int32_t size_;
  Vector b_, scale_;  // logs
  Vector near_;       // b relative to the scale
  Vector rounding_;   // of a row of P, relative
  std::optional<IncompleteElimination> eliminated_;
  size_t precision_ = 0;
  double largest_proof_ = 0;  // the largest w
  int32_t witness_ = 0;
};

}  // namespace gtnet::paths
