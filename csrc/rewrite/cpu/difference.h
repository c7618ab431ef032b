// What one acceptor or transducer has and the language of another has not: breadth-first over pairs
// of a state of a and the set of states that b may be in (Rabin & Scott 1959), made as it is met.
#pragma once

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "core/budget.h"
#include "core/interrupt.h"
#include "rewrite/matching.h"

namespace gtnet::rewrite {

// The sets of states of b, numbered as they are met; set 0 is where b starts.
class Subsets {
 public:
  // `possible` says of each position of b.leaving whether its arc can be taken.
  Subsets(const Operand& b, const bool* possible) : b_(b), possible_(possible) {
    std::vector<int32_t> starts;
    for (int32_t s = b.begin; s < b.end; ++s) {
      if (b.is_start[s]) starts.push_back(s);
    }
    number(std::move(starts));
  }

  // How many members the sets have, and how many steps lead from one to another.
  int64_t size() const { return size_; }

  // The set reached from a set by a label.
  int32_t step(int32_t set, int32_t label) {
    const uint64_t key = (static_cast<uint64_t>(set) << 32) | static_cast<uint32_t>(label);
    const auto known = steps_.find(key);
    if (known != steps_.end()) return known->second;
    std::vector<int32_t> next;
    for (const int32_t s : *sets_[set]) follow(s, label, next);
    ++size_;
    return steps_[key] = number(std::move(next));
  }

  bool accepts(int32_t set) const { return accepts_[set]; }

 private:
  struct Hash {
    size_t operator()(const std::vector<int32_t>& set) const {
      uint64_t h = set.size();
      for (const int32_t s : set) {
        h = (h ^ static_cast<uint32_t>(s)) * 0x9E3779B97F4A7C15ull;
        h ^= h >> 29;
      }
      return h;
    }
  };

  void follow(int32_t s, int32_t label, std::vector<int32_t>& targets) const {
    const int32_t* const end = b_.labels + b_.leaving.offsets[s + 1];
    for (const int32_t* at = std::lower_bound(b_.labels + b_.leaving.offsets[s], end, label);
         at != end && *at == label; ++at) {
      if (possible_[at - b_.labels]) targets.push_back(b_.leaving.states[at - b_.labels]);
    }
  }

  // The number of the set and of what its epsilons reach.
  int32_t number(std::vector<int32_t> set) {
    const auto unique = [&] {
      std::sort(set.begin(), set.end());
      set.erase(std::unique(set.begin(), set.end()), set.end());
    };
    unique();
    poll(16 * static_cast<int64_t>(set.size() + 1));
    for (size_t before = 0; before != set.size();) {
      before = set.size();
      for (size_t i = 0; i < before; ++i) follow(set[i], kEpsilon, set);
      if (set.size() != before) unique();
    }
    const bool accepts =
        std::any_of(set.begin(), set.end(), [&](int32_t s) { return b_.is_accept[s]; });
    const auto [place, fresh] =
        numbers_.try_emplace(std::move(set), static_cast<int32_t>(accepts_.size()));
    if (fresh) {
      size_ += 1 + static_cast<int64_t>(place->first.size());
      sets_.push_back(&place->first);
      accepts_.push_back(accepts);
    }
    return place->second;
  }

  const Operand b_;
  const bool* possible_;
  int64_t size_ = 0;
  std::unordered_map<std::vector<int32_t>, int32_t, Hash> numbers_;
  std::vector<const std::vector<int32_t>*> sets_;
  std::vector<char> accepts_;
  std::unordered_map<uint64_t, int32_t> steps_;
};

// The pairs and arcs of one graph that are reached, arcs grouped by source.
struct Remainder {
  std::vector<int32_t> states{};      // of a
  std::vector<char> first, accepted;  // whether b has read nothing, and whether it would accept
  std::vector<int32_t> source{}, target{}, arcs{};
  bool too_many_arcs = false, too_many_states = false;
};

// a.labels are those that a writes. `states` bounds the pairs and the size of the sets together.
inline void subtract(const Operand& a, Subsets& b, Budget& arcs, Budget& states,
                     Remainder& result) {
  std::unordered_map<uint64_t, int32_t> numbers;
  std::vector<int32_t> sets;
  const auto number = [&](int32_t state, int32_t set) {
    const uint64_t key = (static_cast<uint64_t>(state) << 32) | static_cast<uint32_t>(set);
    const auto [place, fresh] = numbers.try_emplace(key, static_cast<int32_t>(sets.size()));
    if (fresh) {
      sets.push_back(set);
      result.states.push_back(state);
      result.first.push_back(set == 0);
      result.accepted.push_back(b.accepts(set));
    }
    return place->second;
  };
  for (int32_t s = a.begin; s < a.end; ++s) {
    if (a.is_start[s]) number(s, 0);
  }
  int64_t charged = 0;
  for (size_t i = 0; i < sets.size(); ++i) {
    const int32_t s = result.states[i];
    const int32_t low = a.leaving.offsets[s], high = a.leaving.offsets[s + 1];
    poll(32 * (high - low + 1));
    result.too_many_arcs = !arcs.charge(high - low);
    const int64_t made = b.size() + static_cast<int64_t>(sets.size());
    result.too_many_states = !states.charge(made - charged);
    charged = made;
    if (result.too_many_arcs || result.too_many_states) return;
    for (int32_t k = low; k < high; ++k) {
      const int32_t set = a.labels[k] == kEpsilon ? sets[i] : b.step(sets[i], a.labels[k]);
      result.source.push_back(static_cast<int32_t>(i));
      result.target.push_back(number(a.leaving.states[k], set));
      result.arcs.push_back(a.leaving.arcs[k]);
    }
  }
}

}  // namespace gtnet::rewrite
