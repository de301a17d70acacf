// Tables of short cuts over an LPM map's trie: making them and keeping them right. See lpm_tables.hpp.
#include "map/lpm_tables.hpp"

namespace skep::map {

u64 LpmTables::budget(u64 max_entries) noexcept {
  constexpr u64 bytes_an_entry = 40, least = 1024, most = u64{unit_bytes} << unit_bits;
  if (max_entries * 2 + 1 >= tag) return 0;
  const u64 bytes = round_up(max_entries * bytes_an_entry + least, page_bytes);
  return bytes < most ? bytes : most;
}

// --- memory: by width, never given back ---

u32 LpmTables::allocate(u32 width) noexcept {
  if (const u32 table = free_[width]; table != 0) {
    free_[width] = header(table).next;
    return table;
  }
  const u64 units = 1 + (u64{8} << width) / unit_bytes;
  if (fresh_ + units > units_) return 0;
  const u32 table = tag | width << unit_bits | static_cast<u32>(fresh_);
  fresh_ += units;
  return table;
}

void LpmTables::release(u32 table) noexcept {
  header(table).next = free_[width(table)];
  free_[width(table)] = table;
}

// --- following the trie ---

/// What a slot says of the topmost node below it: nothing where the slot's best is all there is, its table where it
/// has one and begins right here.
u32 LpmTables::below_of(Ref top, u32 end) const noexcept {
  if (nodes_.bits(top) != end) return top;
  if (const u32 table = nodes_.table(top).load(std::memory_order_relaxed); table != 0) return table;
  return nodes_.child(top, false) == 0 && nodes_.child(top, true) == 0 ? 0 : top;
}

/// In the slots that the prefix covers: `count` is in (begin, end].
void LpmTables::replace_best(const Span& span, const u8* bytes, u32 count, Ref from, Ref to) noexcept {
  const u32 open = span.end - count;
  const u64 first = bits_of(bytes, span.begin, span.end - span.begin) >> open << open;
  std::atomic<u64>* const at = slots(span.table) + first;
  for (u64 i = 0; i < u64{1} << open; ++i) {
    const u64 known = at[i].load(std::memory_order_relaxed);
    if (known >> 32 == from) at[i].store(word(to, static_cast<u32>(known)), std::memory_order_release);
  }
}

void LpmTables::set_below(const Span& span, const u8* bytes, u32 below) noexcept {
  std::atomic<u64>& at = slots(span.table)[bits_of(bytes, span.begin, span.end - span.begin)];
  const u64 known = at.load(std::memory_order_relaxed);
  if (static_cast<u32>(known) != below) at.store(word(static_cast<Ref>(known >> 32), below), std::memory_order_release);
}

LpmTables::Ref LpmTables::follow(const u8* bytes, u32 count, Ref was, Ref is) noexcept {
  constexpr u32 long_way = 5;
  const bool inserted = was == 0 && is != 0;
  Span span;          // the table whose bits the walk is in
  Ref around = 0;     // the last entry in them
  Ref way_start = 0;  // the first node behind the last table, and how far it is from there
  u32 way = 0;
  Ref wanted = 0;
  for (Ref at = nodes_.root_ref();; at = nodes_.child(at, nodes_.bit_at(bytes, nodes_.bits(at)))) {
    const u32 bits = at != 0 ? nodes_.bits(at) : 0;
    const u32 common = at != 0 ? nodes_.common_bits(at, bytes, count) : 0;
    const bool last = at == 0 || bits >= count || common < bits;
    if (span.table != 0 && (last || bits >= span.end)) {
      if (count <= span.end) replace_best(span, bytes, count, was != 0 ? was : around, is != 0 ? is : around);
      if (count >= span.end) {
        const bool is_below = at != 0 && bits >= span.end && common >= span.end;
        set_below(span, bytes, is_below ? below_of(at, span.end) : 0);
      }
      span = {};
    }
    if (last) break;
    if (span.table != 0 && nodes_.is_entry(at)) around = at;
    const u32 table = nodes_.table(at).load(std::memory_order_relaxed);
    if (table != 0) {
      span = {table, bits, bits + width(table)};
      around = 0;
      way = 0, way_start = 0;
      if (inserted && ++header(table).inserted >> width(table) != 0 && wanted == 0) wanted = at;
    } else if (span.table == 0) {
      if (way_start == 0) way_start = at;
      if (++way == long_way && wanted == 0) wanted = way_start;
    }
  }
  return inserted ? wanted : 0;
}

void LpmTables::move(Ref from, Ref to) noexcept {
  const u32 table = nodes_.table(from).load(std::memory_order_relaxed);
  nodes_.table(to).store(table, std::memory_order_release);
  nodes_.table(from).store(0, std::memory_order_release);
  if (table != 0) header(table).owner.store(to, std::memory_order_release);
}

void LpmTables::drop(Ref ref) noexcept {
  const u32 table = nodes_.table(ref).load(std::memory_order_relaxed);
  if (table == 0) return;
  nodes_.table(ref).store(0, std::memory_order_release);
  release(table);
}

// --- new and larger tables ---

/// How many nodes end how many bits behind `begin`, at most `most` of them.
void LpmTables::count_nodes(Ref at, u32 begin, u32 most, u32* at_depth) const noexcept {
  for (const bool side : {false, true}) {
    const Ref next = nodes_.child(at, side);
    if (next == 0) continue;
    const u32 depth = nodes_.bits(next) - begin;
    if (depth > most) continue;
    ++at_depth[depth];
    count_nodes(next, begin, most, at_depth);
  }
}

/// For a node without a table: the largest width at which there is a node for every fourth slot. 0: there is none.
u32 LpmTables::first_width(Ref node) const noexcept {
  const u32 begin = nodes_.bits(node), rest = nodes_.max_bits() - begin;
  const u32 most = rest < first_widest ? rest : first_widest;
  u32 at_depth[first_widest + 1] = {};
  count_nodes(node, begin, most, at_depth);
  u32 found = 0, nodes = 0;
  for (u32 width = 1; width <= most; ++width) {
    nodes += at_depth[width];
    if (width >= narrowest && nodes * 4 >= 1u << width) found = width;
  }
  return found;
}

/// Two bits more where every second slot has nodes, and no table, below it; 0: it stays as it is. Looks at the table
/// alone, which lies in a row.
u32 LpmTables::next_width(Ref node, u32 table) const noexcept {
  u32 wider = width(table) + growth, rest = nodes_.max_bits() - nodes_.bits(node);
  if (rest > widest) rest = widest;
  if (wider > rest) wider = rest;
  if (wider == width(table)) return 0;
  const u64 count = u64{1} << width(table);
  u64 occupied = 0;
  for (u64 i = 0; i < count; ++i) {
    const u32 below = static_cast<u32>(slots(table)[i].load(std::memory_order_relaxed));
    occupied += below != 0 && !is_table(below);
  }
  return occupied * 2 >= count ? wider : 0;
}

/// A node below the span's owner, and what is below it, into the slots, which hold `best`.
void LpmTables::place(const Span& span, Ref at, Ref best, u32& superfluous) noexcept {
  const u32 bits = nodes_.bits(at);
  const u64 index = nodes_.bits_of(at, span.begin, span.end - span.begin);
  const Ref own = bits <= span.end && nodes_.is_entry(at) ? at : best;
  if (bits >= span.end)
    return slots(span.table)[index].store(word(own, below_of(at, span.end)), std::memory_order_release);
  if (own != best) {
    const u32 open = span.end - bits;
    const u64 first = index >> open << open;
    for (u64 i = 0; i < u64{1} << open; ++i)
      slots(span.table)[first + i].store(word(own, 0), std::memory_order_release);
  }
  if (const u32 inner = nodes_.table(at).load(std::memory_order_relaxed); inner != 0) {
    header(inner).next = superfluous;
    superfluous = inner;
  }
  place_below(span, at, own, superfluous);
}

void LpmTables::place_below(const Span& span, Ref at, Ref best, u32& superfluous) noexcept {
  for (const bool side : {false, true})
    if (const Ref next = nodes_.child(at, side).load(std::memory_order_relaxed); next != 0)
      place(span, next, best, superfluous);
}

/// From a narrower table of the same owner: each of its slots becomes several.
void LpmTables::place_slots(const Span& span, u32 old, u32& superfluous) noexcept {
  constexpr u64 ahead = 8;
  const u64 count = u64{1} << width(old), each = u64{1} << (width(span.table) - width(old));
  for (u64 i = 0; i < count; ++i) {
    if (i + ahead < count)
      if (const u32 soon = static_cast<u32>(slots(old)[i + ahead].load(std::memory_order_relaxed)); !is_table(soon))
        nodes_.prefetch(soon);
    const u64 known = slots(old)[i].load(std::memory_order_relaxed);
    const Ref best = static_cast<Ref>(known >> 32);
    for (u64 j = 0; j < each; ++j) slots(span.table)[i * each + j].store(word(best, 0), std::memory_order_release);
    if (const u32 below = static_cast<u32>(known); below != 0)
      place(span, is_table(below) ? owner(below) : below, best, superfluous);
  }
}

LpmTables::Plan LpmTables::plan(Ref node) noexcept {
  const u32 old = nodes_.table(node).load(std::memory_order_relaxed);
  if (old != 0) header(old).inserted = 0;
  const u32 chosen = old != 0 ? next_width(node, old) : first_width(node);
  const u32 table = chosen != 0 ? allocate(chosen) : 0;
  if (table == 0) return {};
  Plan made{.owner = node, .table = table};
  header(table).owner.store(node, std::memory_order_release);
  header(table).inserted = 0;
  const u32 begin = nodes_.bits(node);
  const Span span{table, begin, begin + chosen};
  if (old != 0) {
    place_slots(span, old, made.superfluous);
  } else {
    for (u64 i = 0; i < u64{1} << chosen; ++i) slots(table)[i].store(0, std::memory_order_release);
    place_below(span, node, 0, made.superfluous);
  }
  for (u32 inner = made.superfluous; inner != 0; inner = header(inner).next)
    if (width(inner) > chosen) {  // it does more than this one would
      release(table);
      return {};
    }
  return made;
}

void LpmTables::publish(const Plan& plan) noexcept {
  drop(plan.owner);
  nodes_.table(plan.owner).store(plan.table, std::memory_order_release);
  for (u32 table = plan.superfluous; table != 0;) {
    const u32 next = header(table).next;
    drop(owner(table));
    table = next;
  }
  // A slot above may name the owner, or its former table.
  const Ref same = nodes_.is_entry(plan.owner) ? plan.owner : 0;
  follow(reinterpret_cast<const u8*>(nodes_.data(plan.owner)), nodes_.bits(plan.owner), same, same);
}

}  // namespace skep::map
