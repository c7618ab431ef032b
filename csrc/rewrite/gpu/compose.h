// Composition by blocks of threads: the arcs and numbers of rewrite/cpu/compose.h's Explore.
//
// A block, or a team of blocks, explores the product of one pair of graphs. It takes pairs of
// states in the order of their numbers, as many as it has threads, and deals their arcs out evenly.
// Arcs are numbered in the order of rewrite/matching.h; of the arcs that lead to a new pair the
// first discovers it, and new pairs are numbered in the order of the arcs that discover them:
// breadth first, as on the CPU.
#pragma once

#include "block/load_balance.h"
#include "block/workspace.h"
#include "rewrite/gpu/state_pair_table.h"

namespace gtnet::rewrite {

// A batch of graphs, or one that meets every graph of the other operand.
struct Side {
  static constexpr int kFacts = 3;  // states, start states, whether it has an epsilon

  int64_t num_graphs;
  In<int64_t> state_offsets;
  Csr leaving;
  In<int32_t> labels;
  In<int32_t> starts;  // from each graph's first place on: its start states, numbered within it
  In<int32_t> facts;   // [graphs, kFacts]

  GTNET_HD int64_t own(int64_t item) const { return num_graphs == 1 ? 0 : item; }
  GTNET_HD int32_t num_states(int64_t item) const { return facts[kFacts * own(item)]; }
  GTNET_HD int32_t num_starts(int64_t item) const { return facts[kFacts * own(item) + 1]; }
  GTNET_HD bool with_epsilon(int64_t item) const { return facts[kFacts * own(item) + 2] != 0; }
  GTNET_HD int32_t start(int64_t item, int64_t i) const {
    return starts[state_offsets[own(item)] + i];
  }
  GTNET_HD Operand at(int64_t item) const {
    return {leaving,
            labels,
            nullptr,
            nullptr,
            static_cast<int32_t>(state_offsets[own(item)]),
            static_cast<int32_t>(state_offsets[own(item) + 1])};
  }
};

// Finds out what Side has to know of each graph.
struct Survey {
  static constexpr int kThreads = 512;
  static constexpr int64_t kBytes = kWarp * sizeof(int32_t);
  int64_t num_graphs;
  In<int64_t> state_offsets;
  In<int32_t> offsets;
  In<int32_t> labels;
  In<bool> is_start;
  Out<int32_t> starts;
  Out<int32_t> facts;  // 0 on entry

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int32_t> sums = block.template shared<int32_t>(kWarp);
    for (int64_t g = block.index(); g < num_graphs; g += block.count()) {
      const int64_t begin = state_offsets[g], end = state_offsets[g + 1];
      const int64_t first_arc = offsets[begin], last_arc = offsets[end];
      const int32_t num_starts = block.prefix_sums(
          end - begin, sums, [=, this](int64_t i) { return is_start[begin + i] ? 1 : 0; },
          [=, this](int64_t i, int32_t before) {
            if (is_start[begin + i]) starts[begin + before] = static_cast<int32_t>(i);
          });
      block.each(1, [=, this](int64_t) {
        facts[Side::kFacts * g] = static_cast<int32_t>(end - begin);
        facts[Side::kFacts * g + 1] = num_starts;
      });
      block.each(last_arc - first_arc, [=, this](int64_t i) {
        if (labels[first_arc + i] == kEpsilon) Block::raise(facts[Side::kFacts * g + 2], 1);
      });
      block.sync();
    }
  }
};

// What two states can do together, in parts that are found alone: one for each epsilon of a that
// is matched with all of b, for each that is taken alone, for each label of the shorter list.
struct Meeting {
  ArcsOfState a, b;
  int32_t matched, a_alone, b_alone;

  GTNET_HD static Meeting of(const Moves& moves, uint64_t pair) {
    const int filter = PairKey::filter(pair);
    const auto a = ArcsOfState::of(moves.a, moves.a.begin + PairKey::a(pair));
    const auto b = ArcsOfState::of(moves.b, moves.b.begin + PairKey::b(pair));
    return {a, b, EpsilonFilter::match(filter) && b.epsilons() > 0 ? a.epsilons() : 0,
            EpsilonFilter::a_alone(filter) ? a.epsilons() : 0,
            EpsilonFilter::b_alone(filter) ? b.epsilons() : 0};
  }

  GTNET_HD bool a_is_shorter() const { return a.labelled() <= b.labelled(); }
  GTNET_HD int64_t labels_from() const { return int64_t{matched} + a_alone + b_alone; }
  GTNET_HD int64_t parts() const {
    return labels_from() + (a_is_shorter() ? a.labelled() : b.labelled());
  }

  // How many arcs a part has; of labels, with where their matches begin on the longer list.
  GTNET_HD int32_t arcs(const Moves& moves, int64_t part, int32_t& place) const {
    place = kNone;
    if (part < matched) return b.epsilons();
    if (part < labels_from()) return 1;
    const auto at = static_cast<int32_t>(part - labels_from());
    return a_is_shorter() ? matches(moves.a.labels[a.label + at], moves.b.labels, b, place)
                          : matches(moves.b.labels[b.label + at], moves.a.labels, a, place);
  }

  // Arc `i` of a part.
  GTNET_HD Move move(const Moves& moves, uint64_t pair, int64_t part, int32_t place,
                     int32_t i) const {
    auto at = static_cast<int32_t>(part);
    if (part < matched) return moves.both(a.epsilon + at, b.epsilon + i);
    if ((at -= matched) < a_alone) {
      return moves.a_alone(a.epsilon + at, moves.b.begin + PairKey::b(pair));
    }
    if ((at -= a_alone) < b_alone) {
      return moves.b_alone(b.epsilon + at, moves.a.begin + PairKey::a(pair));
    }
    at -= b_alone;
    return a_is_shorter() ? moves.both(a.label + at, place + i)
                          : moves.both(place + i, b.label + at);
  }

 private:
  GTNET_HD static int32_t matches(int32_t label, In<int32_t> longer, const ArcsOfState& many,
                                  int32_t& place) {
    if (many.labelled() == 0) return 0;
    place = place_of(longer, many.label, many.end, label);
    if (place == many.end || longer[place] != label) return 0;
    if (place + 1 == many.end || longer[place + 1] != label) return 1;
    const int32_t end = label == PairNumbers::kUnseen
                            ? many.end
                            : first_not_below(longer, place, many.end, label + 1);
    return end - place;
  }
};

// The arcs of consecutive pairs of one product, shared out over a block.
struct Expansion {
  int64_t most;  // pairs, and parts of a chunk
  Span<uint64_t> pairs;
  Span<int64_t> part_begin;           // of each pair
  Span<int64_t> arc_begin;            // of each part of a chunk
  Span<int32_t> pair_of_part, place;  // likewise
  Span<int64_t> sums;

  GTNET_HD static constexpr int64_t bytes(int64_t most) {
    return most * 32 + kWarp * static_cast<int64_t>(sizeof(int64_t));
  }
  GTNET_HD static Expansion in(block::Workspace& memory, int64_t most) {
    return {most,
            memory.take<uint64_t>(most),
            memory.take<int64_t>(most),
            memory.take<int64_t>(most),
            memory.take<int32_t>(most),
            memory.take<int32_t>(most),
            memory.take<int64_t>(kWarp)};
  }

  // chunk(arcs of it, arcs before it, finds) for chunk after chunk of the arcs of `count` pairs,
  // until it returns false; finds(i, pair) is the move of arc i of the chunk and whose it is.
  // placed(i, arc) is called for every pair with the place of its first arc.
  // Returns how many arcs there are, or -1 where it ended early.
  template <class Block, class Placed, class Chunk>
  GTNET_KERNEL int64_t each_chunk(Block& block, const Moves& moves, Span<const uint64_t> from,
                                  int64_t count, const Placed& placed, const Chunk& chunk) const {
    const Expansion x = *this;
    block.each(count, [=](int64_t i) { x.pairs[i] = from[i]; });
    const int64_t parts = block.prefix_sums(
        count, sums, [=](int64_t i) { return Meeting::of(moves, x.pairs[i]).parts(); },
        [=](int64_t i, int64_t before) { x.part_begin[i] = before; });
    int64_t arcs = 0;
    for (int64_t first = 0; first == 0 || first < parts; first += most) {
      const int64_t here = parts - first < most ? parts - first : most;
      const int64_t found = x.prepare(block, moves, count, first, here);
      block.each(count, [=](int64_t i) {
        const int64_t part = x.part_begin[i] - first;
        if (0 <= part && part < here) placed(i, arcs + x.arc_begin[part]);
        if (part == here) placed(i, arcs + found);
      });
      const auto finds = [=](int64_t i, int64_t& pair) {
        const int64_t part = block::owner_of(x.arc_begin, here, i);
        pair = x.pair_of_part[part];
        const uint64_t key = x.pairs[pair];
        return Meeting::of(moves, key)
            .move(moves, key, first + part - x.part_begin[pair], x.place[part],
                  static_cast<int32_t>(i - x.arc_begin[part]));
      };
      if (!chunk(found, arcs, finds)) return -1;
      block.sync();
      arcs += found;
    }
    return arcs;
  }

 private:
  // Counts the arcs of the parts of a chunk.
  template <class Block>
  GTNET_KERNEL int64_t prepare(Block& block, const Moves& moves, int64_t count, int64_t first,
                               int64_t here) const {
    const Expansion x = *this;
    block.each(here, [=](int64_t i) {
      const int64_t pair = block::owner_of(x.part_begin, count, first + i);
      x.pair_of_part[i] = static_cast<int32_t>(pair);
      x.arc_begin[i] =
          Meeting::of(moves, x.pairs[pair]).arcs(moves, first + i - x.part_begin[pair], x.place[i]);
    });
    return block.prefix_sums(
        here, sums, [=](int64_t i) { return x.arc_begin[i]; },
        [=](int64_t i, int64_t before) { x.arc_begin[i] = before; });
  }
};

// How far the exploration of a product has come.
struct Progress {
  enum State : int64_t { kGoing, kFull, kDone, kTooLarge };  // full: it has no room to go on
  int64_t states;                                            // pairs numbered
  int64_t expanded;  // whose arcs are known, of the first pairs
  int64_t arcs;
  int64_t state;
};

// The products of a batch as blocks explore them.
struct Products {
  Side a, b;
  int64_t num_graphs;
  int64_t capacity;  // pairs of an item
  PairNumbers numbers;
  Span<uint64_t> pairs;     // [items, capacity] in the order of their numbers
  Out<int32_t> arc_begin;   // [items, capacity]
  Span<Progress> progress;  // [items]

  GTNET_HD Moves moves(int64_t item) const {
    return {a.at(item), b.at(item), {a.with_epsilon(item) && b.with_epsilon(item) ? 3 : 1}};
  }
  GTNET_HD static uint64_t key(const Moves& moves, const Move& move) {
    return PairKey::of(move.a - moves.a.begin, move.b - moves.b.begin, move.filter);
  }
  template <class Block>
  GTNET_KERNEL int64_t claim(int64_t item, const Moves& moves, uint64_t key) const {
    return numbers.template claim<Block>(item, moves.b.end - moves.b.begin, moves.filter.states,
                                         key);
  }
  GTNET_HD int32_t number(int64_t item, const Moves& moves, uint64_t key) const {
    return numbers.number(item, moves.b.end - moves.b.begin, moves.filter.states, key);
  }
};

// What so many threads work in that explore a product.
struct ExplorersRoom {
  static constexpr int64_t kRounds = 4;  // arcs for each thread that are followed at once
  Expansion arcs;
  Span<int64_t> places;

  GTNET_HD static constexpr int64_t bytes(int64_t threads) {
    return Expansion::bytes(threads) + threads * kRounds * static_cast<int64_t>(sizeof(int64_t));
  }
  GTNET_HD static ExplorersRoom in(block::Workspace memory, int64_t threads) {
    const Expansion arcs = Expansion::in(memory, threads);
    return {arcs, memory.take<int64_t>(threads * kRounds)};
  }
};

// A block explores a product. Where pairs do not fit it stops, and goes on when called again.
struct ExploreProducts {
  static constexpr int kThreads = 512;
  using Room = ExplorersRoom;
  static constexpr int64_t kBytes = Room::bytes(kThreads);
  static_assert(kBytes <= 47 << 10);

  int64_t num_graphs;
  Products products;
  int64_t most_arcs;
  bool roomy;  // there can be no more pairs than fit

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Room room = shared_room(block);
    for (int64_t item = block.index(); item < num_graphs; item += block.count()) {
      Progress now = products.progress[item];
      const Moves moves = products.moves(item);
      if (!begins(block, item, moves, now)) continue;
      expand(block, item, moves, room, now, 1, products.capacity);
      end(block, item, now);
    }
  }

 protected:
  template <class Block>
  GTNET_KERNEL static Room shared_room(Block& block) {
    return Room::in({block.template shared<char>(kBytes)}, kThreads);
  }

  // Whether there is something to do; numbers the pairs of start states.
  template <class Block>
  GTNET_KERNEL bool begins(Block& block, int64_t item, const Moves& moves, Progress& now) const {
    if (now.state == Progress::kFull) now.state = Progress::kGoing;
    if (now.state != Progress::kGoing) return false;
    if (now.states > 0) return true;
    const Products all = products;
    const int64_t of_b = all.b.num_starts(item), count = all.a.num_starts(item) * of_b;
    if (count > most_arcs)
      now.state = Progress::kTooLarge;
    else if (count > all.capacity)
      now.state = Progress::kFull;
    if (now.state != Progress::kGoing) return true;
    block.each(count, [=](int64_t i) {
      const uint64_t key = PairKey::of(all.a.start(item, i / of_b), all.b.start(item, i % of_b), 0);
      all.numbers.values[all.template claim<Block>(item, moves, key)] = ~static_cast<int32_t>(i);
      all.pairs[item * all.capacity + i] = key;
    });
    block.sync();
    now.states = count;
    return true;
  }

  template <class Block>
  GTNET_KERNEL void end(Block& block, int64_t item, Progress now) const {
    if (now.state == Progress::kGoing && now.expanded == now.states) now.state = Progress::kDone;
    block.sync();
    block.each(1, [=, this](int64_t) { products.progress[item] = now; });
  }

  // Finds the arcs of pairs while there are so many of which they are not known.
  template <class Block>
  GTNET_KERNEL void expand(Block& block, int64_t item, const Moves& moves, const Room& room,
                           Progress& now, int64_t fewest, int64_t most) const {
    const int64_t base = item * products.capacity, at_once = room.arcs.most;
    const Out<int32_t> arc_begin = products.arc_begin;
    while (now.state == Progress::kGoing) {
      const int64_t left = now.states - now.expanded, count = left < at_once ? left : at_once;
      if (left < fewest || left > most) return;
      const int64_t first = base + now.expanded, before = now.arcs;
      const int64_t found = room.arcs.each_chunk(
          block, moves, products.pairs.part(first, count), count,
          [=](int64_t i, int64_t arc) {
            arc_begin[first + i] = static_cast<int32_t>(before + arc);
          },
          [&](int64_t here, int64_t earlier, const auto& finds) {
            if (before + earlier + here > most_arcs) {
              now.state = Progress::kTooLarge;
              return false;
            }
            for (int64_t i = 0; i < here; i += at_once * Room::kRounds) {
              const int64_t some =
                  here - i < at_once * Room::kRounds ? here - i : at_once * Room::kRounds;
              if (!roomy && now.states + some > products.capacity) {
                now.state = Progress::kFull;
                return false;
              }
              now.states += discover(block, item, moves, room, now.states, i, some, finds);
            }
            return true;
          });
      if (found < 0) return;
      now.expanded += count;
      now.arcs += found;
    }
  }

 private:
  // Numbers the new pairs that arcs first, ... first + count - 1 of a chunk lead to.
  template <class Block, class Finds>
  GTNET_KERNEL int64_t discover(Block& block, int64_t item, const Moves& moves, const Room& room,
                                int64_t known, int64_t first, int64_t count,
                                const Finds& finds) const {
    const Products all = products;
    const Span<int64_t> places = room.places;
    block.each(count, [=](int64_t i) {
      int64_t owner;
      const uint64_t key = Products::key(moves, finds(first + i, owner));
      places[i] = all.template claim<Block>(item, moves, key);
      Block::lower(all.numbers.values[places[i]], static_cast<int32_t>(i));
    });
    return block.prefix_sums(
        count, room.arcs.sums,
        [=](int64_t i) {
          const bool is_first = all.numbers.values[places[i]] == i;
          if (!is_first) places[i] = kNone;
          return is_first ? 1 : 0;
        },
        [=](int64_t i, int64_t before) {
          if (places[i] == kNone) return;
          int64_t owner;
          const uint64_t key = Products::key(moves, finds(first + i, owner));
          all.pairs[item * all.capacity + known + before] = key;
          all.numbers.values[places[i]] = ~static_cast<int32_t>(known + before);
        });
  }
};

// A team of blocks explores a product. While there are no more than `narrow` pairs of which the
// arcs are not known, its first block does so alone, as a team waits long for all of its threads.
struct ExploreProductsByTeams : ExploreProducts {
  int64_t size;    // of a team
  int64_t narrow;  // at most a pair for each thread of a block

  GTNET_HD static int64_t bytes(int64_t size) { return Room::bytes(size * kThreads); }

  template <class Team>
  GTNET_KERNEL void operator()(Team& team) const {
    const Room wide = Room::in({team.template shared<char>(bytes(size))}, size * kThreads);
    for (int64_t item = team.index(); item < num_graphs; item += team.count()) {
      Progress now = products.progress[item];
      const Moves moves = products.moves(item);
      if (!begins(team, item, moves, now)) continue;
      while (now.state == Progress::kGoing && now.expanded < now.states) {
        expand(team, item, moves, wide, now, narrow + 1, products.capacity);
        team.sync();
        team.lead([=, this](auto& block) {
          Progress here = now;
          expand(block, item, moves, shared_room(block), here, 1, narrow);
          block.sync();
          block.each(1, [=, this](int64_t) { products.progress[item] = here; });
        });
        now = team.seen(products.progress[item]);
      }
      end(team, item, now);
    }
  }
};

// Copies what is known into larger places.
struct EnlargeProducts {
  static constexpr int kThreads = 256;
  Products before, after;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    block.each_in_grid(before.num_graphs * before.capacity, [this](int64_t i) {
      const int64_t item = i / before.capacity, s = i % before.capacity;
      if (s >= before.progress[item].states) return;
      const int64_t to = item * after.capacity + s;
      after.pairs[to] = before.pairs[i];
      if (s < before.progress[item].expanded) after.arc_begin[to] = before.arc_begin[i];
      const int64_t place = after.template claim<Block>(item, after.moves(item), before.pairs[i]);
      after.numbers.values[place] = ~static_cast<int32_t>(s);
    });
  }
};

// Where each product begins in a batch of them; run by one block.
struct ProductOffsets {
  static constexpr int kThreads = 256;
  static constexpr int64_t kBytes = kWarp * sizeof(int64_t);
  int64_t num_graphs;
  Span<const Progress> progress;
  Out<int64_t> state_offsets;  // [items + 1]
  Out<int64_t> arc_offsets;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    const Span<int64_t> sums = block.template shared<int64_t>(kWarp);
    block.prefix_sums(
        num_graphs + 1, sums,
        [this](int64_t i) { return i < num_graphs ? progress[i].states : int64_t{0}; },
        [this](int64_t i, int64_t before) { state_offsets[i] = before; });
    block.prefix_sums(
        num_graphs + 1, sums,
        [this](int64_t i) { return i < num_graphs ? progress[i].arcs : int64_t{0}; },
        [this](int64_t i, int64_t before) { arc_offsets[i] = before; });
  }
};

// Writes explored products out as a batch. Blocks b, b + num_graphs, ... share item b.
struct WriteProducts {
  static constexpr int kThreads = 512;
  static constexpr int64_t kBytes = Expansion::bytes(kThreads);

  Products products;
  In<int64_t> state_offsets;
  In<int64_t> arc_offsets;
  Out<int32_t> source, target, arc_a, arc_b;  // [arcs]
  Out<int32_t> state_a, state_b;              // [states]
  Out<int8_t> filter;

  template <class Block>
  GTNET_KERNEL void operator()(Block& block) const {
    block::Workspace memory{block.template shared<char>(kBytes)};
    const Expansion arcs = Expansion::in(memory, kThreads);
    const int64_t item = block.index() % products.num_graphs;
    const int64_t step = block.count() / products.num_graphs * kThreads;
    const int64_t states = products.progress[item].states;
    const Moves moves = products.moves(item);
    for (int64_t s = block.index() / products.num_graphs * kThreads; s < states; s += step) {
      write(block, item, moves, arcs, s, states - s < kThreads ? states - s : kThreads);
    }
  }

 private:
  // The states first, ... first + count - 1 of a product and their arcs.
  template <class Block>
  GTNET_KERNEL void write(Block& block, int64_t item, const Moves& moves, const Expansion& arcs,
                          int64_t first, int64_t count) const {
    const WriteProducts out = *this;
    const int64_t at = item * products.capacity + first;
    const int64_t states = state_offsets[item] + first;
    const int64_t begin = arc_offsets[item] + products.arc_begin[at];
    block.each(count, [=](int64_t i) {
      const uint64_t pair = out.products.pairs[at + i];
      out.state_a[states + i] = moves.a.begin + PairKey::a(pair);
      out.state_b[states + i] = moves.b.begin + PairKey::b(pair);
      out.filter[states + i] = static_cast<int8_t>(PairKey::filter(pair));
    });
    arcs.each_chunk(
        block, moves, products.pairs.part(at, count), count, [](int64_t, int64_t) {},
        [=, &block](int64_t here, int64_t earlier, const auto& finds) {
          block.each(here, [=](int64_t i) {
            int64_t pair;
            const Move move = finds(i, pair);
            const int64_t arc = begin + earlier + i;
            out.source[arc] = static_cast<int32_t>(first + pair);
            out.target[arc] = out.products.number(item, moves, Products::key(moves, move));
            out.arc_a[arc] = move.arc_a;
            out.arc_b[arc] = move.arc_b;
          });
          return true;
        });
  }
};

}  // namespace gtnet::rewrite
