// Words that layouts of rows have in common.
#pragma once

#include "core/platform.h"

namespace gtnet::layout {

constexpr int kLanes = 16;                       // rows, or arcs of a row, side by side in vectors
constexpr int32_t kPadding = -1, kUnitArc = -2;  // entries that are no arc of the graph
constexpr int kNoLabel = 0;                      // the local label of what reads nothing

}  // namespace gtnet::layout
