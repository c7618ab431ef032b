// The operators of composition on the CPU.
#include "rewrite/cpu/compose.h"

#include <memory>

#include "core/budget.h"
#include "ops/cpu/executor.h"
#include "ops/cpu/gathered.h"
#include "ops/tensors.h"
#include "rewrite/cpu/best_first.h"

namespace gtnet::ops {
namespace {

// Which states start or accept: marked, or those whose score is not -inf.
class Marks {
 public:
  explicit Marks(const Tensor& marks) {
    if (marks.scalar_type() == ScalarType::Bool) {
      data_ = input<bool>(marks);
      return;
    }
    possible_.reset(new bool[marks.numel()]);
    data_ = possible_.get();
    with_scores(marks, [&](auto zero) {
      const auto* const scores = input<decltype(zero)>(marks);
      for (int64_t s = 0; s < marks.numel(); ++s) possible_[s] = scores[s] > kNegInf;
    });
  }
  const bool* data() const { return data_; }

 private:
  std::unique_ptr<bool[]> possible_;
  const bool* data_;
};

// An operand: a batch, or one graph that meets every graph of the other operand.
class Side {
 public:
  Side(const Tensor& state_offsets, const Tensor& offsets, const Tensor& arcs, const Tensor& states,
       const Tensor& labels, const Tensor& start, const std::optional<Tensor>& accept)
      : state_offsets_(input<int64_t>(state_offsets)),
        num_graphs_(graphs(state_offsets)),
        starts_(start),
        whole_{
            csr_of(offsets, arcs, states), input<int32_t>(labels), starts_.data(), nullptr, 0, 0},
        with_epsilon_(num_graphs_) {
    if (accept) whole_.is_accept = accepts_.emplace(*accept).data();
    for (int64_t g = 0; g < num_graphs_; ++g) {
      const int32_t* const begin = whole_.labels + whole_.leaving.offsets[state_offsets_[g]];
      const int32_t* const end = whole_.labels + whole_.leaving.offsets[state_offsets_[g + 1]];
      with_epsilon_[g] = std::find(begin, end, kEpsilon) != end;
    }
  }

  // The graph that takes part in item g of the batch.
  rewrite::Operand at(int64_t g) const {
    rewrite::Operand one = whole_;
    one.begin = static_cast<int32_t>(state_offsets_[own(g)]);
    one.end = static_cast<int32_t>(state_offsets_[own(g) + 1]);
    return one;
  }
  // Whether it has an epsilon on the side that is matched.
  bool with_epsilon(int64_t g) const { return with_epsilon_[own(g)] != 0; }

 private:
  int64_t own(int64_t g) const { return num_graphs_ == 1 ? 0 : g; }

  const int64_t* state_offsets_;
  int64_t num_graphs_;
  Marks starts_;
  std::optional<Marks> accepts_;
  rewrite::Operand whole_;
  std::vector<char> with_epsilon_;
};

std::vector<rewrite::Product> products_of(const Side& a, const Side& b, int64_t num_graphs,
                                          int64_t work, int64_t max_arcs, bool trimmed) {
  std::vector<rewrite::Product> products(num_graphs);
  Budget budget{max_arcs};
  in_parallel(num_graphs, grain(num_graphs, work), [&](int64_t begin, int64_t end) {
    rewrite::PairTable table;
    for (int64_t g = begin; g < end; ++g) {
      const rewrite::Operand one = a.at(g), other = b.at(g);
      const int filters = a.with_epsilon(g) && b.with_epsilon(g) ? 3 : 1;
      rewrite::Explore({one, other, {filters}}, budget, table, products[g]).run();
      if (products[g].too_large || !trimmed) continue;
      const auto explored = static_cast<int64_t>(products[g].arcs.size());
      rewrite::trim(one, other, products[g]);
      budget.used -= explored - static_cast<int64_t>(products[g].arcs.size());
    }
  });
  return products;
}

// Products as one batch; nothing where one of them is too large.
struct Packed {
  bool fits = true;
  int64_t num_states, num_arcs;
  Tensor state_offsets, arc_offsets, source, target, arc_a, arc_b, state_a, state_b;
  Tensor filter;

  Packed(const Tensor& like, const std::vector<rewrite::Product>& products)
      : state_offsets(empty<int64_t>(like, static_cast<int64_t>(products.size()) + 1)),
        arc_offsets(empty<int64_t>(like, static_cast<int64_t>(products.size()) + 1)) {
    int64_t* const states_begin = output<int64_t>(state_offsets);
    int64_t* const arcs_begin = output<int64_t>(arc_offsets);
    states_begin[0] = arcs_begin[0] = 0;
    for (size_t g = 0; g < products.size(); ++g) {
      fits = fits && !products[g].too_large;
      states_begin[g + 1] = states_begin[g] + static_cast<int64_t>(products[g].states.size());
      arcs_begin[g + 1] = arcs_begin[g] + static_cast<int64_t>(products[g].arcs.size());
    }
    num_states = fits ? states_begin[products.size()] : 0;
    num_arcs = fits ? arcs_begin[products.size()] : 0;
    for (Tensor* const arcs : {&source, &target, &arc_a, &arc_b}) {
      *arcs = empty<int32_t>(like, num_arcs);
    }
    for (Tensor* const states : {&state_a, &state_b}) *states = empty<int32_t>(like, num_states);
    filter = empty<int8_t>(like, num_states);
  }

  // Writes the products and forgets them; labels(product, its first arc) writes the rest.
  template <class Labels>
  void fill(std::vector<rewrite::Product>& products, const Labels& labels) const {
    if (!fits) return;
    const rewrite::ProductArrays begin{output<int32_t>(source),  output<int32_t>(target),
                                       output<int32_t>(arc_a),   output<int32_t>(arc_b),
                                       output<int32_t>(state_a), output<int32_t>(state_b),
                                       output<int8_t>(filter)};
    const int64_t *const s = input<int64_t>(state_offsets), *const k = input<int64_t>(arc_offsets);
    for_each_graph(static_cast<int64_t>(products.size()), num_arcs, [&](int64_t g) {
      rewrite::write(products[g], begin.from(s[g], k[g]));
      labels(products[g], k[g]);
      products[g] = rewrite::Product{};
    });
  }
};

// Products as the tensors of one batch, with labels: output labels last, and only of transducers.
std::vector<Tensor> labelled(std::vector<rewrite::Product>& products, const Tensor& a_ilabels,
                             const Tensor& b_olabels, bool acceptors) {
  const Packed packed(a_ilabels, products);
  if (!packed.fits) throw OverBudget{};
  std::vector<Tensor> made{packed.state_offsets,
                           packed.arc_offsets,
                           packed.source,
                           packed.target,
                           empty<int32_t>(a_ilabels, packed.num_arcs),
                           packed.arc_a,
                           packed.arc_b,
                           packed.state_a,
                           packed.state_b,
                           packed.filter};
  if (!acceptors) made.push_back(empty<int32_t>(a_ilabels, packed.num_arcs));
  packed.fill(products, [&](const rewrite::Product& product, int64_t begin) {
    rewrite::write_labels(product, &rewrite::ProductArc::a, input<int32_t>(a_ilabels),
                          output<int32_t>(made[4]) + begin);
    if (acceptors) return;
    rewrite::write_labels(product, &rewrite::ProductArc::b, input<int32_t>(b_olabels),
                          output<int32_t>(made[10]) + begin);
  });
  return made;
}

// With weights of both, also the scores of the product, in front; then starts and accepts are
// scores, not marks.
std::vector<Tensor> compose(const Tensor& a_state_offsets, const Tensor& a_offsets,
                            const Tensor& a_arcs, const Tensor& a_states, const Tensor& a_labels,
                            const Tensor& a_start, const Tensor& a_accept, const Tensor& a_ilabels,
                            const Tensor& b_state_offsets, const Tensor& b_offsets,
                            const Tensor& b_arcs, const Tensor& b_states, const Tensor& b_labels,
                            const Tensor& b_start, const Tensor& b_accept, const Tensor& b_olabels,
                            const std::optional<Tensor>& a_weights,
                            const std::optional<Tensor>& b_weights, bool acceptors,
                            int64_t num_graphs, int64_t max_arcs) {
  const Side a(a_state_offsets, a_offsets, a_arcs, a_states, a_labels, a_start, a_accept);
  const Side b(b_state_offsets, b_offsets, b_arcs, b_states, b_labels, b_start, b_accept);
  std::vector<rewrite::Product> products =
      products_of(a, b, num_graphs, a_arcs.numel() + b_arcs.numel(), max_arcs, true);
  std::vector<Tensor> made = labelled(products, a_ilabels, b_olabels, acceptors);
  if (!a_weights || !b_weights) return made;
  std::vector<Tensor> scored =
      gathered({*a_weights, a_start, a_accept, *b_weights, b_start, b_accept},
               {made[5], made[7], made[6], made[8]}, made[9]);
  scored.insert(scored.end(), made.begin(), made.end());
  return scored;
}

rewrite::Prospects prospects(const std::vector<Tensor>& scores) {
  return {input<double>(scores[0]), input<double>(scores[1]), input<double>(scores[2]),
          input<double>(scores[3])};
}

// Scores are float64: weights by arc, start, accept, and the best that follows a state.
std::vector<Tensor> best_first(const Tensor& a_state_offsets, const Tensor& a_offsets,
                               const Tensor& a_arcs, const Tensor& a_states, const Tensor& a_labels,
                               const std::vector<Tensor>& a_scores, const Tensor& a_ilabels,
                               const Tensor& b_state_offsets, const Tensor& b_offsets,
                               const Tensor& b_arcs, const Tensor& b_states, const Tensor& b_labels,
                               const std::vector<Tensor>& b_scores, const Tensor& b_olabels,
                               bool acceptors, int64_t num_graphs, int64_t paths, double slack,
                               int64_t max_arcs) {
  const Side a(a_state_offsets, a_offsets, a_arcs, a_states, a_labels, a_scores[1], a_scores[2]);
  const Side b(b_state_offsets, b_offsets, b_arcs, b_states, b_labels, b_scores[1], b_scores[2]);
  const rewrite::Prospects one = prospects(a_scores), other = prospects(b_scores);
  std::vector<rewrite::Product> products(num_graphs);
  Budget budget{max_arcs};
  in_parallel(num_graphs, 1, [&](int64_t begin, int64_t end) {
    rewrite::PairTable table;
    for (int64_t g = begin; g < end; ++g) {
      const int filters = a.with_epsilon(g) && b.with_epsilon(g) ? 3 : 1;
      const rewrite::Moves moves{a.at(g), b.at(g), {filters}};
      products[g] = rewrite::BestFirst(moves, one, other, paths, slack, budget, table).run();
      if (!products[g].too_large) rewrite::trim(moves.a, moves.b, products[g]);
    }
  });
  return labelled(products, a_ilabels, b_olabels, acceptors);
}

std::vector<Tensor> explore(const Tensor& a_state_offsets, const Tensor& a_offsets,
                            const Tensor& a_arcs, const Tensor& a_states, const Tensor& a_labels,
                            const Tensor& a_start, const Tensor& b_state_offsets,
                            const Tensor& b_offsets, const Tensor& b_arcs, const Tensor& b_states,
                            const Tensor& b_labels, const Tensor& b_start, int64_t num_graphs,
                            int64_t max_arcs) {
  const Side a(a_state_offsets, a_offsets, a_arcs, a_states, a_labels, a_start, std::nullopt);
  const Side b(b_state_offsets, b_offsets, b_arcs, b_states, b_labels, b_start, std::nullopt);
  std::vector<rewrite::Product> products =
      products_of(a, b, num_graphs, a_arcs.numel() + b_arcs.numel(), max_arcs, false);
  const Packed packed(a_arcs, products);
  packed.fill(products, [](const rewrite::Product& /*product*/, int64_t /*begin*/) {});
  Tensor too_large = empty<bool>(a_arcs, 1);
  *output<bool>(too_large) = !packed.fits;
  return {too_large,    packed.state_offsets, packed.arc_offsets, packed.source,  packed.target,
          packed.arc_a, packed.arc_b,         packed.state_a,     packed.state_b, packed.filter};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gtnet, m) {
  m.def(
      "compose(Tensor a_state_offsets, Tensor a_offsets, Tensor a_arcs, Tensor a_states, "
      "Tensor a_labels, Tensor a_start, Tensor a_accept, Tensor a_ilabels, "
      "Tensor b_state_offsets, Tensor b_offsets, Tensor b_arcs, Tensor b_states, "
      "Tensor b_labels, Tensor b_start, Tensor b_accept, Tensor b_olabels, Tensor? a_weights, "
      "Tensor? b_weights, bool acceptors, int num_graphs, int max_arcs) -> Tensor[]");
  m.def(
      "best_first(Tensor a_state_offsets, Tensor a_offsets, Tensor a_arcs, Tensor a_states, "
      "Tensor a_labels, Tensor[] a_scores, Tensor a_ilabels, Tensor b_state_offsets, "
      "Tensor b_offsets, Tensor b_arcs, Tensor b_states, Tensor b_labels, Tensor[] b_scores, "
      "Tensor b_olabels, bool acceptors, int num_graphs, int paths, float slack, int max_arcs) "
      "-> Tensor[]");
  m.def(
      "explore(Tensor a_state_offsets, Tensor a_offsets, Tensor a_arcs, Tensor a_states, "
      "Tensor a_labels, Tensor a_start, Tensor b_state_offsets, Tensor b_offsets, Tensor b_arcs, "
      "Tensor b_states, Tensor b_labels, Tensor b_start, int num_graphs, int max_arcs) "
      "-> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(gtnet, CPU, m) {
  m.impl("compose", GTNET_BOX("compose", &compose));
  m.impl("best_first", GTNET_BOX("compose", &best_first));
  m.impl("explore", GTNET_BOX("compose", &explore));
}

}  // namespace gtnet::ops
