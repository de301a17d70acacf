// The walk over all types: where each begins, and the tags of their names.
//
// The kernel's own BTF has 126,000 types and is walked at every start. Where the next type begins is known when the
// length of this one is, some 17 cycles after its header was read, and meanwhile the CPU has time to make the tag of a
// name: both together take 0.7 ms. Nothing here depends on what a type or a name is, since a branch that is guessed
// wrongly costs as much as a type.
#include <algorithm>

#include "btf/data.hpp"

namespace skep::btf {

/// Names that end within eight bytes of the section's end, and those of the base, are copied first.
NameTag Btf::Data::tag_of(u32 name) const {
  if (name == 0) return {};
  const Data* data = this;
  while (name < data->first_string) data = data->base->data_.get();
  const u32 own = name - data->first_string;
  if (own >= data->string_bytes) return {};
  u64 head = 0;
  std::memcpy(&head, data->strings + own, std::min<std::size_t>(sizeof head, data->string_bytes - own));
  return name_tag(head);
}

Result<void> Btf::Data::walk_types() {
  constexpr u32 many_bytes = 1 << 20, shift_of_many = 2;
  offset_shift = type_bytes < many_bytes ? 0 : shift_of_many;
  const std::size_t most = type_bytes / sizeof(RawType);
  offsets = std::make_unique_for_overwrite<u32[]>((most >> offset_shift) + 2);
  tags = std::make_unique_for_overwrite<u8[]>(most);
  second_tags = std::make_unique_for_overwrite<u8[]>(most);
  // Bytes may alias anything: members would be read again at every step.
  const u8* const begin = types;
  const u8* const heads_of_names = reinterpret_cast<const u8*>(strings);
  const u32 whole_heads = string_bytes < sizeof(u64) ? 0 : string_bytes - static_cast<u32>(sizeof(u64)) + 1;
  const u32 first_name = first_string, bytes_of_types = type_bytes, shift = offset_shift, mask = (1u << shift) - 1;
  u32* const to_offsets = offsets.get();
  u8* const to_tags = tags.get();
  u8* const to_second_tags = second_tags.get();
  u32 found = 0;
  for (u32 at = 0; at < bytes_of_types; found++) {
    const u32 room = bytes_of_types - at;
    if (room < sizeof(RawType)) return walk_fault(found, at);
    const u32 name = load<u32>(begin + at), info = load<u32>(begin + at + 4);
    const u64 size = type_size(info);
    if (size == 0 || size > room) return walk_fault(found, at);
    to_offsets[(found + mask) >> shift] = at;  // the last of the types that share a place is the one it is kept for
    const u32 own_name = name - first_name;    // of the base: beyond all of ours
    const NameTag tag = own_name < whole_heads ? name_tag(load<u64>(heads_of_names + own_name)) : tag_of(name);
    to_tags[found] = tag.first;
    to_second_tags[found] = tag.second;
    at += static_cast<u32>(size);
  }
  own_count = found;
  return {};
}

}  // namespace skep::btf
