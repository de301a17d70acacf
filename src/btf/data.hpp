// The inside of a Btf: its bytes, the index of type offsets, and the two ways to find a name. Private to this room.
//
// Names are found by tags: two bytes for each type, hashes of the first eight bytes of its name, which cost the pass
// over the types nothing (it waits for the length of each type before it knows where the next one begins). A look-up
// is a search for the first byte with memchr(), a look at the second at one place in 255, and hardly any comparison.
// What was looked up is remembered; when many different names were, a hash table over all names is made, which takes
// as long as 300 look-ups.
//
// Where types begin is kept for every fourth type of a kernel: a page that is touched costs more than three steps.
//
// The raw structures are the file's own layout (kernel Documentation/bpf/btf.rst); they are read with memcpy, so
// alignment does not matter.
#pragma once
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/mapped_file.hpp"
#include "btf/btf.hpp"

namespace skep::btf {

struct RawHeader {
  u16 magic;
  u8 version, flags;
  u32 header_length, type_offset, type_length, string_offset, string_length;
};
struct RawType {
  u32 name, info, size_or_type;
};
static_assert(sizeof(RawHeader) == 24 && sizeof(RawType) == 12);

inline constexpr u16 btf_magic = 0xeb9f;
inline constexpr u32 last_kind = static_cast<u32>(Kind::enum64);
/// typedef/const/array chains longer than this are refused, as real ones have less than ten links.
inline constexpr u32 longest_chain = 64;

inline u32 vlen_of(u32 info) { return info & 0xffff; }
inline u32 kind_of(u32 info) { return (info >> 24) & 0x1f; }
inline bool kind_flag_of(u32 info) { return (info >> 31) != 0; }

/// Bytes of a type of this kind: its header with what always follows, and each of its entries. 0: no such kind.
struct KindSize {
  u8 fixed = 0, entry = 0;
};
inline constexpr KindSize kind_sizes[32] = {
    {},                                             // void is not written
    {16, 0},                                        // int: the encoding
    {12, 0},                                        // ptr
    {24, 0},                                        // array: element, index, count
    {12, 12}, {12, 12},                             // struct, union
    {12, 8},                                        // enum
    {12, 0},  {12, 0},  {12, 0}, {12, 0}, {12, 0},  // fwd, typedef, volatile, const, restrict
    {12, 0},                                        // func
    {12, 8},                                        // func_proto
    {16, 0},                                        // var: the linkage
    {12, 12},                                       // datasec
    {12, 0},                                        // float
    {16, 0},                                        // decl_tag: the component's index
    {12, 0},                                        // type_tag
    {12, 12},                                       // enum64
};
static_assert(kind_sizes[last_kind].fixed != 0 && kind_sizes[last_kind + 1].fixed == 0);

inline u64 type_size(u32 info) {
  const KindSize size = kind_sizes[kind_of(info)];
  return size.fixed + u64{size.entry} * vlen_of(info);
}

template <class T>
T load(const u8* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

struct NameTag {
  u8 first = 0, second = 0;  ///< 0, 0: no name; `first` of a name is not 0
};

/// Of the essential name, as much of it as eight bytes hold: names that are equal but for a flavour have the same.
/// `head`: the first eight bytes, with whatever follows a shorter name's zero.
inline NameTag name_tag(u64 head) {
  constexpr u64 low = 0x0101010101010101, high = low << 7;
  const u64 others = head ^ (low * '_');
  const u64 underscores = ~(((others & ~high) + ~high) | others | ~high);  // bit 7 of each byte that is '_'
  // "___" ends what is hashed. One that only begins here ends it too, lest "long_ab___x" differ from "long_ab". One at
  // the very front separates nothing.
  const u64 triples = underscores & (underscores >> 8 | high << 56) & (underscores >> 16 | high << 48) & ~u64{0xff};
  const u64 stops = ((head - low) & ~head & high) | triples;  // the lowest zero is exact, and only that counts
  const u64 kept = head & (((stops & -stops) >> 7) - 1);      // all of it where nothing stops: 0 - 1
  const u64 hash = (kept * 0x9e3779b97f4a7c15) >> 32;
  return {static_cast<u8>((hash * 255 >> 32) + (kept != 0 ? 1 : 0)), static_cast<u8>(hash)};
}

struct Btf::Data {
  std::vector<std::byte> owned;
  std::optional<base::MappedFile> mapped;
  std::span<const std::byte> bytes;  ///< of `owned` or `mapped`
  const u8* types = nullptr;
  const char* strings = nullptr;
  u32 type_bytes = 0;
  u32 string_bytes = 0;
  std::shared_ptr<const Btf> base;
  u32 first_id = 1;      ///< of our own types
  u32 first_string = 0;  ///< of our own strings
  u32 own_count = 0;     ///< types of our own
  // By id - first_id. There is room for as many types as the bytes could hold; pages that are not used cost nothing.
  u32 offset_shift = 0;
  std::unique_ptr<u32[]> offsets;           ///< into `types`, of each 2^offset_shift-th type
  std::unique_ptr<u8[]> tags, second_tags;  ///< name_tag() of the name; 0, 0 for none

  // By essential name: what was looked up so far, or, once `heads` is there, a chain of ids by hash.
  mutable std::mutex names_mutex;
  mutable std::unordered_map<std::string, std::vector<u32>> names;
  mutable std::vector<u32> heads;  ///< id or 0
  mutable std::vector<u32> next;   ///< by id - first_id

  // Of our own structures and unions by id - first_id, as found so far; 0: not yet. Made at the first question.
  mutable std::once_flag alignments_are_made;
  mutable std::unique_ptr<std::atomic<u8>[]> alignments;

  u32 count() const { return first_id + own_count; }
  const u8* at(u32 own_id) const {
    const u32 index = own_id - first_id;
    const u8* type = types + offsets[index >> offset_shift];
    for (u32 steps = index & ((1u << offset_shift) - 1); steps > 0; steps--) type += type_size(load<u32>(type + 4));
    return type;
  }
  RawType raw(u32 own_id) const { return load<RawType>(at(own_id)); }
  /// Own types of that essential name, ascending.
  std::vector<u32> own_ids(const Btf& btf, std::string_view essential) const;
  std::vector<u32> ids_by_tag(const Btf& btf, std::string_view essential) const;
  std::vector<u32> ids_by_index(const Btf& btf, std::string_view essential) const;
  void build_index(const Btf& btf) const;

  /// Opens `bytes`; fills everything but the storage.
  Result<void> open(Check check);
  Result<void> walk_types();
  tl::unexpected<Error> walk_fault(u32 found, u32 at) const;
  NameTag tag_of(u32 name) const;
  Result<void> check_references() const;
  Result<void> check_chains(std::span<const u32> links) const;
  /// The sentence for the first type whose name or reference is out of range.
  Error explain_fault() const;
};

}  // namespace skep::btf
