// Which of several ways to the same result was taken: counted once per item or call, so that tests
// can ask. gtnet/_ops/drivers.py names them.
#pragma once

#include <atomic>
#include <cstdint>

namespace gtnet {

enum class Driver : int {
  kFusedCtc,        // items of a CTC loss in one operator
  kCtcAgain,        // of those, items whose numbers are too far apart to share exponents
  kInterleaved,     // passes over items that share a graph, in the lanes of a vector
  kDense,           // items alone whose graph is a matrix
  kScaledRows,      // passes over an item alone whose arcs are of about one size
  kScaledAgain,     // steps of those in which some rows needed exponents
  kExtendedRows,    // passes over an item alone with an exponent for each number
  kDouble,          // items done again in float64, as float32 was not enough
  kLatticeViterbi,  // items whose best paths were found without the product
  kSlices,          // walks through graphs with states side by side
  kStateByState,    // walks through acyclic graphs one state after another
  kComponents,      // walks through graphs with cycles
  kCount
};

inline std::atomic<int64_t> driver_counts[static_cast<int>(Driver::kCount)];

inline void count(Driver driver, int64_t times = 1) {
  driver_counts[static_cast<int>(driver)].fetch_add(times, std::memory_order_relaxed);
}

}  // namespace gtnet
