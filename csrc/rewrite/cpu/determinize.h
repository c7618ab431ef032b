// Weighted determinization by subsets (Mohri 1997, sections 3 and 4; Mohri 2009, section 7.2), with
// a record of every sum it takes, along which the gradient runs back.
//
// A state of the result is a set of entries (state q, residual r, output still owed): what remains
// of the paths that spell one string after the arcs taken so far have paid their sum. From it,
// label a leads on with W = sum of r + w over the arcs q -a/w-> p, and p keeps (sum of those into
// p) - W.
#pragma once

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/interrupt.h"
#include "core/topology.h"
#include "rewrite/cpu/label_tree.h"

namespace gtnet::rewrite {

// One graph to be determinized: no arc of score -inf, every state on an accepting path.
struct Nondeterministic {
  Csr leaving;                  // the arcs of each state sorted by label
  const int32_t* labels;        // by position in `leaving`
  const int64_t* output_begin;  // by arc, null in an acceptor: where its output begins ...
  const int32_t* outputs;       // ... among these labels
  const int64_t* ending_begin;  // by state: likewise what is written where a path ends
  const int32_t* endings;
  const double* weights;  // by arc
  const double* start;    // by state
  const double* accept;   // by state
  int32_t begin, end;     // its states
};

struct DeterminizeOptions {
  bool tropical;
  bool identical;      // merge states only where the residuals also agree to first order
  double delta;        // residuals that differ by no more are equal
  int64_t max_states;  // of one graph, those of chains among them
};

enum class DeterminizeEnd : int32_t { kDone, kTooLarge, kNotFunctional };

// The result and its record. Arcs are by source state and label; the term t of arc e says that
// entry term_entry[t] and the old arc term_arc[t] are summed into e and, where e was the first to
// reach its target, into the entry term_into[t] (else kNone).
struct DeterminizeResult {
  DeterminizeEnd end = DeterminizeEnd::kDone;
  int32_t witness = kNone;  // the old state with two outputs for one string
  double start = kNegInf;
  std::vector<double> accept;
  std::vector<int64_t> entry_begin{0}, arc_begin{0}, term_begin{0};
  std::vector<int32_t> entry_state;
  std::vector<double> entry_score;
  std::vector<int32_t> target, label;
  std::vector<double> score;
  std::vector<int32_t> term_entry, term_arc, term_into;
  std::vector<int64_t> output_begin{0}, ending_begin{0};  // empty without outputs
  std::vector<int32_t> outputs, endings;
};

namespace detail {

inline uint64_t mixed(uint64_t x) {  // splitmix64
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

inline double between_half_and_one(uint64_t x) {
  return 0.5 + static_cast<double>(mixed(x) >> 12) * 0x1p-53;
}

// Output strings, numbered; 0 is the empty one.
class Strings {
 public:
  Strings() : strings_(1) {}

  int32_t longer(int32_t string, const int32_t* begin, const int32_t* end) {
    if (begin == end) return string;
    LabelString whole = strings_[string];
    for (; begin != end; ++begin) whole = tree_.longer(whole, *begin);
    return number(whole);
  }

  int32_t without_first(int32_t string, int32_t count) {
    return number(LabelTree::without_first(strings_[string], count));
  }

  int32_t length(int32_t string) const { return strings_[string].length; }

  int32_t common_front(int32_t a, int32_t b, int32_t most) const {
    return tree_.common_front(strings_[a], strings_[b], most);
  }

  // The first `count` labels.
  void write(int32_t string, int32_t count, std::vector<int32_t>& to) const {
    to.resize(count);
    const LabelString whole = strings_[string];
    tree_.write(tree_.without_last(whole, whole.length - count), to.data() + count);
  }

 private:
  int32_t number(LabelString string) {
    if (string.length == 0) return 0;
    const uint64_t hash = tree_.hash(string);
    for (auto [at, end] = numbers_.equal_range(hash); at != end; ++at) {
      if (tree_.equal(strings_[at->second], string)) return at->second;
    }
    const auto fresh = static_cast<int32_t>(strings_.size());
    numbers_.emplace(hash, fresh);
    strings_.push_back(string);
    return fresh;
  }

  LabelTree tree_;
  std::vector<LabelString> strings_;
  std::unordered_multimap<uint64_t, int32_t> numbers_;
};

}  // namespace detail

class Determinize {
 public:
  Determinize(const Nondeterministic& graph, const DeterminizeOptions& options,
              DeterminizeResult& result)
      : graph_(graph), options_(options), out_(result), alone_(graph.end - graph.begin, kNone) {}

  void run() {
    for (int32_t q = graph_.begin; q < graph_.end; ++q) {
      if (graph_.start[q] == kNegInf) continue;
      const double slope = direction(~static_cast<uint64_t>(q));
      terms_.push_back({q, kNone, kNone, 0, {graph_.start[q], slope}});
    }
    if (terms_.empty()) return;
    out_.start = merge(0, terms_.size()).score;
    follow();
    for (int32_t s = 0; s < num_states() && out_.end == DeterminizeEnd::kDone; ++s) expand(s);
    if (out_.end != DeterminizeEnd::kDone) {
      DeterminizeResult failed;
      failed.end = out_.end;
      failed.witness = out_.witness;
      out_ = std::move(failed);
    }
  }

 private:
  // A score and its derivative along a fixed random direction of all scores of the graph.
  struct Dual {
    double score, slope;
  };
  struct Entry {
    int32_t state, string;
    Dual residual;
  };
  struct Term {
    int32_t target, entry, arc, string;
    Dual value;
  };
  struct Labelled {
    int32_t label;
    Term term;
  };

  static constexpr size_t kMostNumbered = size_t{1} << 27;  // entries and terms: 5 GB

  int32_t num_states() const { return static_cast<int32_t>(out_.entry_begin.size()) - 1; }

  double direction(uint64_t of) const {
    return options_.identical ? 4 * detail::between_half_and_one(of) - 3 : 0;
  }

  // The sum of the terms [begin, end); ties of the tropical sum go to the first.
  Dual plus(size_t begin, size_t end) const {
    size_t best = begin;
    for (size_t i = begin + 1; i < end; ++i) {
      if (terms_[i].value.score > terms_[best].value.score) best = i;
    }
    const Dual largest = terms_[best].value;
    if (options_.tropical || end - begin == 1) return largest;
    double total = 0, slope = 0;
    for (size_t i = begin; i < end; ++i) {
      const double share = std::exp(terms_[i].value.score - largest.score);
      total += share;
      slope += share * terms_[i].value.slope;
    }
    return {largest.score + std::log(total), slope / total};
  }

  // Sums the terms, which are grouped by target, into `found_` (the entries of the state reached)
  // and returns the sum of all; the output common to all terms goes to `common_`.
  Dual merge(size_t begin, size_t end) {
    const Dual all = plus(begin, end);
    found_.clear();
    common_.clear();
    if (graph_.output_begin) share_output(begin, end);
    for (size_t i = begin; i < end;) {
      size_t j = i + 1;
      while (j < end && terms_[j].target == terms_[i].target) ++j;
      Dual residual{0, 0};
      if (j - i < end - begin) {
        const Dual here = plus(i, j);
        residual = {here.score - all.score, here.slope - all.slope};
      }
      for (size_t k = i + 1; k < j; ++k) {
        if (terms_[k].string != terms_[i].string) fail(terms_[i].target);
      }
      found_.push_back({terms_[i].target, terms_[i].string, residual});
      i = j;
    }
    return all;
  }

  void fail(int32_t witness) {
    out_.end = DeterminizeEnd::kNotFunctional;
    out_.witness = witness;
  }

  // Takes the longest common prefix off the outputs that the terms owe.
  void share_output(size_t begin, size_t end) {
    const int32_t first = terms_[begin].string;
    int32_t same = strings_.length(first);
    for (size_t i = begin + 1; i < end && same > 0; ++i) {
      if (terms_[i].string != first) same = strings_.common_front(first, terms_[i].string, same);
    }
    if (same == 0) return;
    poll(8 * static_cast<int64_t>(same));
    strings_.write(first, same, common_);
    for (size_t i = begin; i < end; ++i) {
      terms_[i].string = strings_.without_first(terms_[i].string, same);
    }
  }

  // The state whose entries are `found_`, and whether it is new.
  std::pair<int32_t, bool> follow() {
    if (found_.size() == 1) {  // always with residual 0 and nothing owed
      int32_t& known = alone_[found_[0].state - graph_.begin];
      if (known != kNone) return {known, false};
      return {known = create(), true};
    }
    // Nearly equal subsets have nearly equal `place`s: in one bucket or in two that touch.
    uint64_t hash = found_.size();
    double place = 0;
    for (const Entry& e : found_) {
      hash = detail::mixed(hash ^ (static_cast<uint64_t>(e.state) << 32 | e.string));
      place += detail::between_half_and_one(e.state) * (e.residual.score + e.residual.slope / 3);
    }
    const double reach = 1.5 * options_.delta * static_cast<double>(found_.size());
    const double width = 16 * reach;
    const double low = std::floor((place - reach) / width);
    const double high = std::floor((place + reach) / width);
    for (double bucket = low; bucket <= high; ++bucket) {
      const auto first = buckets_.find(hash ^ std::hash<double>{}(bucket));
      if (first == buckets_.end()) continue;
      for (int32_t s = first->second; s != kNone; s = next_[s]) {
        if (same(s)) return {s, false};
      }
    }
    const int32_t state = create();
    const uint64_t key = hash ^ std::hash<double>{}(std::floor(place / width));
    const auto [first, fresh] = buckets_.emplace(key, state);
    if (!fresh) next_[state] = std::exchange(first->second, state);
    return {state, true};
  }

  bool same(int32_t state) const {
    const int64_t begin = out_.entry_begin[state];
    if (out_.entry_begin[state + 1] - begin != static_cast<int64_t>(found_.size())) return false;
    for (size_t i = 0; i < found_.size(); ++i) {
      const Entry& e = found_[i];
      if (out_.entry_state[begin + i] != e.state || owed_[begin + i] != e.string ||
          std::abs(out_.entry_score[begin + i] - e.residual.score) > options_.delta ||
          std::abs(slopes_[begin + i] - e.residual.slope) > options_.delta) {
        return false;
      }
    }
    return true;
  }

  int32_t create() {
    const int32_t state = num_states();
    const size_t size = std::max(out_.entry_state.size(), out_.term_arc.size());
    if (size > kMostNumbered) out_.end = DeterminizeEnd::kTooLarge;
    within_bounds(1);
    for (const Entry& e : found_) {
      out_.entry_state.push_back(e.state);
      out_.entry_score.push_back(e.residual.score);
      slopes_.push_back(e.residual.slope);
      owed_.push_back(e.string);
    }
    out_.entry_begin.push_back(static_cast<int64_t>(out_.entry_state.size()));
    next_.push_back(kNone);
    return state;
  }

  // Counts states of the result, those of the chains that write strings among them.
  void within_bounds(int64_t more) {
    made_ += more;
    if (made_ > options_.max_states) out_.end = DeterminizeEnd::kTooLarge;
  }

  void expand(int32_t s) {
    end_paths(s);
    const auto begin = static_cast<int32_t>(out_.entry_begin[s]);
    const auto end = static_cast<int32_t>(out_.entry_begin[s + 1]);
    pending_.clear();
    for (int32_t e = begin; e < end; ++e) {
      const int32_t q = out_.entry_state[e];
      const Dual residual{out_.entry_score[e], slopes_[e]};
      for (int32_t k = graph_.leaving.offsets[q]; k < graph_.leaving.offsets[q + 1]; ++k) {
        const int32_t arc = graph_.leaving.arcs[k];
        const Dual value{residual.score + graph_.weights[arc], residual.slope + direction(arc)};
        pending_.push_back({graph_.labels[k], {graph_.leaving.states[k], e, arc, 0, value}});
      }
    }
    poll(32 * static_cast<int64_t>(pending_.size() + 1));
    if (end - begin > 1) {
      std::stable_sort(pending_.begin(), pending_.end(),
                       [](const Labelled& a, const Labelled& b) { return a.label < b.label; });
    }
    for (size_t i = 0; i < pending_.size() && out_.end == DeterminizeEnd::kDone;) {
      size_t j = i;
      terms_.clear();
      for (; j < pending_.size() && pending_[j].label == pending_[i].label; ++j) {
        terms_.push_back(pending_[j].term);
      }
      lead_on(pending_[i].label);
      i = j;
    }
    out_.arc_begin.push_back(static_cast<int64_t>(out_.target.size()));
  }

  // The arc for the label of the terms.
  void lead_on(int32_t label) {
    if (graph_.output_begin) {
      for (Term& t : terms_) {
        const int64_t* const begin = graph_.output_begin + t.arc;
        t.string =
            strings_.longer(owed_[t.entry], graph_.outputs + begin[0], graph_.outputs + begin[1]);
      }
    }
    if (terms_.size() > 1) {
      std::stable_sort(terms_.begin(), terms_.end(),
                       [](const Term& a, const Term& b) { return a.target < b.target; });
    }
    const Dual all = merge(0, terms_.size());
    const auto [target, fresh] = follow();
    out_.target.push_back(target);
    out_.label.push_back(label);
    out_.score.push_back(all.score);
    auto into = static_cast<int32_t>(out_.entry_begin[target]);
    for (size_t i = 0; i < terms_.size(); ++i) {
      if (i > 0 && terms_[i].target != terms_[i - 1].target) ++into;
      out_.term_entry.push_back(terms_[i].entry);
      out_.term_arc.push_back(terms_[i].arc);
      out_.term_into.push_back(fresh ? into : kNone);
    }
    out_.term_begin.push_back(static_cast<int64_t>(out_.term_arc.size()));
    if (!graph_.output_begin) return;
    if (common_.size() > 1) within_bounds(static_cast<int64_t>(common_.size()) - 1);
    append(common_, out_.outputs, out_.output_begin);
  }

  static void append(const std::vector<int32_t>& string, std::vector<int32_t>& all,
                     std::vector<int64_t>& begin) {
    all.insert(all.end(), string.begin(), string.end());
    begin.push_back(static_cast<int64_t>(all.size()));
  }

  // The score of ending in state s, and the output that is still owed there.
  void end_paths(int32_t s) {
    terms_.clear();
    for (int64_t e = out_.entry_begin[s]; e < out_.entry_begin[s + 1]; ++e) {
      const int32_t q = out_.entry_state[e];
      const double value = out_.entry_score[e] + graph_.accept[q];
      if (value == kNegInf) continue;
      int32_t string = owed_[e];
      if (graph_.output_begin) {
        const int64_t* const begin = graph_.ending_begin + q;
        string = strings_.longer(string, graph_.endings + begin[0], graph_.endings + begin[1]);
      }
      terms_.push_back({q, kNone, kNone, string, {value, 0}});
      if (terms_[0].string != string) fail(q);
    }
    out_.accept.push_back(terms_.empty() ? kNegInf : plus(0, terms_.size()).score);
    if (!graph_.output_begin) return;
    const int32_t string = terms_.empty() ? 0 : terms_[0].string;
    within_bounds(strings_.length(string));
    if (out_.end != DeterminizeEnd::kDone) return;
    strings_.write(string, strings_.length(string), common_);
    append(common_, out_.endings, out_.ending_begin);
  }

  const Nondeterministic& graph_;
  const DeterminizeOptions& options_;
  DeterminizeResult& out_;
  int64_t made_ = 0;            // states of the result
  std::vector<int32_t> alone_;  // the state of the result whose only entry is this state
  std::unordered_map<uint64_t, int32_t> buckets_;
  std::vector<int32_t> next_;   // the next state of the result in the same bucket
  std::vector<double> slopes_;  // by entry
  std::vector<int32_t> owed_;   // by entry
  detail::Strings strings_;
  std::vector<Term> terms_;
  std::vector<Labelled> pending_;
  std::vector<Entry> found_;
  std::vector<int32_t> common_;
};

}  // namespace gtnet::rewrite
