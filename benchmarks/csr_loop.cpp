// The straightforward way: one loop over the entering arcs of each state in topological order,
// float32, with the C library's expf and logf. What gtnet's path sums are measured against.
#include <cmath>
#include <cstdint>
#include <limits>

namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();

}  // namespace

extern "C" {

// alpha[s] for states numbered topologically; state 0 starts.
void forward(int32_t states, const int32_t* offsets, const int32_t* arcs, const int32_t* sources,
             const float* weights, float* alpha) {
  for (int32_t s = 0; s < states; ++s) {
    float best = s == 0 ? 0 : kNegInf;
    for (int32_t k = offsets[s]; k < offsets[s + 1]; ++k) {
      best = std::fmax(best, alpha[sources[k]] + weights[arcs[k]]);
    }
    float total = s == 0 ? std::exp(-best) : 0;
    for (int32_t k = offsets[s]; k < offsets[s + 1]; ++k) {
      total += std::exp(alpha[sources[k]] + weights[arcs[k]] - best);
    }
    alpha[s] = best == kNegInf ? kNegInf : best + std::log(total);
  }
}

// The gradient of alpha of the last state, after `forward`; flow [states] is scratch.
void backward(int32_t states, const int32_t* offsets, const int32_t* arcs, const int32_t* sources,
              const float* weights, const float* alpha, float* flow, float* grad) {
  for (int32_t s = 0; s < states; ++s) flow[s] = s == states - 1;
  for (int32_t s = states; s-- > 0;) {
    for (int32_t k = offsets[s]; k < offsets[s + 1]; ++k) {
      const float share = std::exp(alpha[sources[k]] + weights[arcs[k]] - alpha[s]);
      grad[arcs[k]] = alpha[s] == kNegInf ? 0 : flow[s] * share;
      flow[sources[k]] += grad[arcs[k]];
    }
  }
}

// alpha[s] in the tropical semiring, and the position of the arc each state is best reached by.
void viterbi(int32_t states, const int32_t* offsets, const int32_t* arcs, const int32_t* sources,
             const float* weights, float* alpha, int32_t* came_by) {
  for (int32_t s = 0; s < states; ++s) {
    alpha[s] = s == 0 ? 0 : kNegInf;
    came_by[s] = -1;
    for (int32_t k = offsets[s]; k < offsets[s + 1]; ++k) {
      const float x = alpha[sources[k]] + weights[arcs[k]];
      if (x > alpha[s]) {
        alpha[s] = x;
        came_by[s] = k;
      }
    }
  }
}
}
