// How far apart scores may be that tie with a threshold, relative to 1 + |score|.
#pragma once

namespace gtnet {

// Sums taken in another order differ by rounding, and a float stands for any number that rounds to
// it. As prune.py has it.
template <class Score>
inline constexpr double kTieSlack = sizeof(Score) < sizeof(double) ? 2e-6 : 1e-9;

}  // namespace gtnet
