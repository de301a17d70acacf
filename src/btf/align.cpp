// What a value of a type must be aligned to.
//
// BTF does not say. It follows from the members: a structure is aligned as the one that wants most, unless one of them
// lies where its alignment would not put it; then the structure is packed. Each record is worked out once and
// remembered, since a crafted file may nest records in exponentially many ways; and nesting takes no stack, since one
// may nest them as deeply as it has types.
#include <algorithm>
#include <unordered_set>

#include "btf/btf.hpp"
#include "btf/data.hpp"

namespace skep::btf {
namespace {

/// The record that decides, or the alignment where none does.
struct Decider {
  u32 record = 0;
  u32 align = 1;
};

Decider decider_of(const Btf& btf, u32 id) {
  for (u32 arrays = 0; arrays <= longest_chain; arrays++) {
    const Type t = btf.type(btf.resolve(id));
    switch (t.kind) {
      case Kind::int_:
      case Kind::enum_:
      case Kind::enum64:
      case Kind::float_:
        return {0, std::clamp<u32>(t.size(), 1, 8)};
      case Kind::ptr:
        return {0, 8};
      case Kind::struct_:
      case Kind::union_:
        return {t.id, 0};
      case Kind::array:
        id = btf.array(t).element_id;
        break;
      default:
        return {};
    }
  }
  return {};
}

bool lies_aligned(const Member& member, u32 align) {
  const u32 bits = 8 * align;
  return member.bit_size == 0 ? member.bit_offset % bits == 0 : member.bit_offset % bits + member.bit_size <= bits;
}

/// A record whose members are being looked at.
struct Open {
  u32 id = 0;
  u32 next = 0;  ///< the member to look at
  u32 largest = 1;
  bool is_packed = false;
};

}  // namespace

std::atomic<u8>& Btf::known_alignment(u32 record) const {
  const Data* data = data_.get();
  while (record < data->first_id) data = data->base->data_.get();
  std::call_once(data->alignments_are_made,
                 [&] { data->alignments = std::make_unique<std::atomic<u8>[]>(data->own_count); });
  return data->alignments[record - data->first_id];
}

u32 Btf::align_of(u32 id) const {
  const auto known = [&](u32 record) -> u32 { return known_alignment(record).load(std::memory_order_relaxed); };
  const Decider asked = decider_of(*this, id);
  if (asked.record == 0) return asked.align;
  std::vector<Open> open;
  std::unordered_set<u32> inside;  // the records in `open`
  const auto enter = [&](u32 record) {
    if (!inside.insert(record).second) return false;
    open.push_back({record});
    return true;
  };
  if (known(asked.record) == 0) enter(asked.record);
  while (!open.empty()) {
    Open& record = open.back();
    const Type t = type(record.id);
    bool waits = false;
    while (record.next < t.vlen && !record.is_packed) {
      const Member one = member(t, record.next);
      const Decider inner = decider_of(*this, one.type_id);
      const u32 align = inner.record == 0 ? inner.align : known(inner.record);
      if (align == 0 && enter(inner.record)) {
        waits = true;  // `record` is no more where it was
        break;
      }
      const u32 counted = std::max(align, 1u);  // 0: a record inside itself, which no compiler makes
      record.is_packed = !lies_aligned(one, counted);
      record.largest = std::max(record.largest, counted);
      ++record.next;
    }
    if (waits) continue;
    const bool is_packed = record.is_packed || t.size() % record.largest != 0;
    known_alignment(record.id).store(static_cast<u8>(is_packed ? 1 : record.largest), std::memory_order_relaxed);
    inside.erase(record.id);
    open.pop_back();
  }
  return known(asked.record);
}

}  // namespace skep::btf
