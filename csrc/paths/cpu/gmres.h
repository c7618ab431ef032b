// Generalized minimal residuals for sparse linear systems (Saad & Schultz 1986).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/interrupt.h"

namespace gtnet::paths {

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double total = 0;
  poll(static_cast<int64_t>(a.size()));
  for (size_t i = 0; i < a.size(); ++i) total += a[i] * b[i];
  return total;
}

inline void add_multiple(double factor, const std::vector<double>& a, std::vector<double>& to) {
  for (size_t i = 0; i < a.size(); ++i) to[i] += factor * a[i];
}

// Solves A x = b from x = 0, given apply(x) = A x and, in place, an approximate inverse. True where
// the Euclidean norm of the rest is at most `tolerance` times that of b, or no more than rounding
// makes of a large x.
template <class Apply, class Precondition>
class Gmres {
 public:
  Gmres(const Apply& apply, const Precondition& precondition, size_t size)
      : apply_(apply), precondition_(precondition), size_(size) {}

  bool operator()(const std::vector<double>& b, double tolerance, std::vector<double>& x) {
    x.assign(size_, 0);
    const double goal = tolerance * std::sqrt(dot(b, b));
    std::vector<double> rest = b;
    double norm = std::sqrt(dot(rest, rest));
    for (int restart = 0; restart < kRestarts && norm > goal; ++restart) {
      const double before = norm;
      std::vector<double> step = reduce(rest, norm, goal);
      precondition_(step.data());
      add_multiple(1, step, x);
      apply_(x, rest);
      for (size_t i = 0; i < size_; ++i) rest[i] = b[i] - rest[i];
      norm = std::sqrt(dot(rest, rest));
      if (!(norm < kProgress * before)) break;
    }
    return norm <= std::max(goal, kRounding * std::sqrt(dot(x, x)));
  }

 private:
  static constexpr int kRestarts = 10, kSteps = 40;
  static constexpr double kRounding = 1e-12;
  static constexpr double kProgress = 0.9;  // a restart that leaves more than this will not do

  // The combination of directions from which the least is left of `rest`, before preconditioning.
  std::vector<double> reduce(const std::vector<double>& rest, double norm, double goal) {
    std::vector<std::vector<double>> basis{rest};
    for (double& value : basis[0]) value /= norm;
    std::vector<std::vector<double>> columns;  // of the triangular factor
    std::vector<double> cosines, sines, left{norm};
    while (static_cast<int>(columns.size()) < kSteps && std::abs(left.back()) > goal) {
      std::vector<double> ahead = basis.back(), next(size_);
      precondition_(ahead.data());
      apply_(ahead, next);
      std::vector<double> column;
      for (const std::vector<double>& direction : basis) {
        column.push_back(dot(direction, next));
        add_multiple(-column.back(), direction, next);
      }
      const double length = std::sqrt(dot(next, next));
      for (size_t k = 0; k < cosines.size(); ++k) {
        const double upper = column[k], lower = column[k + 1];
        column[k] = cosines[k] * upper + sines[k] * lower;
        column[k + 1] = cosines[k] * lower - sines[k] * upper;
      }
      const double radius = std::hypot(column.back(), length);
      if (!(radius > 0) || !std::isfinite(radius)) break;
      cosines.push_back(column.back() / radius);
      sines.push_back(length / radius);
      column.back() = radius;
      columns.push_back(column);
      left.push_back(-sines.back() * left.back());
      left[left.size() - 2] *= cosines.back();
      if (length == 0) break;
      for (double& value : next) value /= length;
      basis.push_back(std::move(next));
    }
    std::vector<double> factors(columns.size()), step(size_, 0);
    for (size_t k = columns.size(); k-- > 0;) {
      double total = left[k];
      for (size_t j = k + 1; j < columns.size(); ++j) total -= columns[j][k] * factors[j];
      factors[k] = total / columns[k][k];
      add_multiple(factors[k], basis[k], step);
    }
    return step;
  }

  const Apply apply_;
  const Precondition precondition_;
  const size_t size_;
};

}  // namespace gtnet::paths
