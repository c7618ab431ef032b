// What the sums over a lattice do with the positions of a cut, and the scores of a graph as
// numbers.
#pragma once

#include <limits>
#include <vector>

#include "lattice/cpu/emissions.h"
#include "lattice/cpu/spmv_scaled.h"

namespace gtnet::lattice {

// A number as a factor of many.
template <class T>
struct Scale {
  T m;
  Exponent<T> e;

  static Scale exp(double x) {
    Scale scale;
    extended::exp(x, scale.m, scale.e);
    return scale;
  }
};

// gamma = alpha * beta * scale where a label leads, 0 elsewhere; read = beta * emission. Returns
// the sum of gamma. Positions outside of the window have none.
template <class T>
struct Meet {
  int32_t num_positions;
  Window window;
  const int32_t* label;
  const T* factor;
  Numbers<T> alpha, beta, read;
  Scale<T> scale;
  T* gamma;
  T* sum;

  GTNET_INLINE void operator()() const {
    const int32_t begin = window.begin, end = std::min(window.end, num_positions);
    for (int32_t p = 0; p < begin; p += kLanes) clear(p);
    Lanes<T> total{}, chances;
    for (int32_t first = begin; first < end; first += kLanes) {
      GTNET_SIMD()
      for (int32_t p = first; p < first + kLanes; ++p) {
        const T chance = alpha.m[p] * beta.m[p] * scale.m *
                         extended::power_of_two<T>(alpha.e[p] + beta.e[p] + scale.e);
        gamma[p] = label[p] == layout::kNoLabel ? T{0} : chance;
        T m = beta.m[p] * factor[label[p]];
        Exponent<T> e = beta.e[p];
        extended::normalize(m, e);
        read.m[p] = m;
        read.e[p] = e;
      }
      load<T>(chances, gamma + first);
      total += chances;
    }
    for (int32_t p = end; p < num_positions; p += kLanes) clear(p);
    *sum = sum_of<T>(total);
  }

 private:
  GTNET_INLINE void clear(int32_t p) const {
    for (int i = 0; i < kLanes; ++i) gamma[p + i] = 0;
    clear_lanes(read + p);
  }
};

// The same where other segments enter the cut as well: gamma = alpha * emission * beta * scale.
template <class T>
struct MeetThrough {
  int32_t num_positions;
  const int32_t* label;
  Numbers<T> emission, alpha, beta, read;
  Scale<T> scale;
  T* gamma;
  T* sum;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t p = 0; p < num_positions; ++p) {
      T m = beta.m[p] * emission.m[label[p]];
      Exponent<T> e = beta.e[p] + emission.e[label[p]];
      extended::normalize(m, e);
      const T chance =
          alpha.m[p] * m * scale.m * extended::power_of_two<T>(alpha.e[p] + e + scale.e);
      gamma[p] = label[p] == layout::kNoLabel ? T{0} : chance;
      read.m[p] = m;
      read.e[p] = e;
    }
    Lanes<T> total{}, chances;
    for (int32_t p = 0; p < num_positions; p += kLanes) {
      load<T>(chances, gamma + p);
      total += chances;
    }
    *sum = sum_of<T>(total);
  }
};

// to += from * scale, and times the emission of its label where there is one.
template <class T, bool kEmitting>
struct AddNumbers {
  int32_t num_positions;
  Numbers<T> to, from;
  Scale<T> scale;
  const int32_t* label;
  Numbers<T> emission;

  GTNET_INLINE void operator()() const {
    GTNET_SIMD()
    for (int32_t p = 0; p < num_positions; ++p) {
      T m = from.m[p] * scale.m;
      Exponent<T> e = from.e[p] + scale.e;
      if constexpr (kEmitting) {
        m *= emission.m[label[p]];
        e += emission.e[label[p]];
      }
      T sum = to.m[p];
      Exponent<T> top = to.e[p];
      extended::add(sum, top, m, e);
      extended::normalize(sum, top);
      to.m[p] = sum;
      to.e[p] = top;
    }
  }
};

// The scores of a graph as numbers, laid out for one direction.
template <class T>
struct GraphNumbers {
  RowWeights<T> reading, epsilon;
  ScaledWeights<T> scaled;
  Array<T> start, accept;
  double largest = 0, largest_end = 0;  // of the finite |weights| and |start|, |accept|

  template <class Score>
  GraphNumbers(const LatticeItem<Score>& item, const layout::SlicedRows& reading_rows,
               const layout::SlicedRows& epsilon_rows)
      : reading(reading_rows, item.weights),
        epsilon(epsilon_rows, item.weights),
        scaled(reading_rows, reading.begin()),
        start(item.steps.num_positions),
        accept(item.steps.num_positions) {
    for (int32_t s = 0; s < item.num_states; ++s) {
      extended::exp(static_cast<double>(item.start[s]), start.begin().m[s], start.begin().e[s]);
      extended::exp(static_cast<double>(item.accept[s]), accept.begin().m[s], accept.begin().e[s]);
    }
    largest = magnitude(item.weights, item.num_arcs);
    largest_end =
        std::max(magnitude(item.start, item.num_states), magnitude(item.accept, item.num_states));
  }

  // A bound on the exponents of paths through so many cuts whose emissions spread so far in all.
  bool fits(const layout::TransitionRows& steps, int64_t cuts, double spread) const {
    const double per_frame = largest * (1.0 + steps.epsilon_entering.num_slices) + 64;
    const double bound = static_cast<double>(cuts) * per_frame + 2 * largest_end + spread;
    return bound * detail::kLog2e < extended::Limits<T>::kLimit;
  }

 private:
  template <class Score>
  static double magnitude(const Score* scores, int32_t count) {
    double most = 0;
    GTNET_SIMD(reduction(max : most))
    for (int32_t k = 0; k < count; ++k) {
      const double size = scores[k] == kNegInf ? 0 : std::abs(static_cast<double>(scores[k]));
      most = size > most ? size : most;
    }
    return most;
  }
};

}  // namespace gtnet::lattice
