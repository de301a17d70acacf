// The inside of a Btf: its bytes, the index of type offsets, and the lazy name index. Private to this room.
//
// The raw structures are the file's own layout (kernel Documentation/bpf/btf.rst); they are read with memcpy, so
// alignment does not matter.
#pragma once
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>

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

/// Bytes that follow the 12-byte header of a type.
inline u64 extra_size(u32 kind, u32 vlen) {
  switch (static_cast<Kind>(kind)) {
    case Kind::int_:
    case Kind::var:
    case Kind::decl_tag:
      return 4;
    case Kind::array:
      return 12;
    case Kind::struct_:
    case Kind::union_:
    case Kind::datasec:
    case Kind::enum64:
      return 12ULL * vlen;
    case Kind::enum_:
    case Kind::func_proto:
      return 8ULL * vlen;
    case Kind::void_:
    case Kind::ptr:
    case Kind::fwd:
    case Kind::typedef_:
    case Kind::volatile_:
    case Kind::const_:
    case Kind::restrict_:
    case Kind::func:
    case Kind::float_:
    case Kind::type_tag:
      return 0;
  }
  return 0;
}

template <class T>
T load(const u8* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
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
  u32 first_id = 1;          ///< of our own types
  u32 first_string = 0;      ///< of our own strings
  std::vector<u32> offsets;  ///< own types: offset of id first_id + i into `types`

  // Name index: hash of the essential name -> chain of own ids, ascending.
  mutable std::once_flag index_once;
  mutable std::vector<u32> heads;  ///< id or 0
  mutable std::vector<u32> next;   ///< by id - first_id
  mutable std::atomic<u32> lookups = 0;

  u32 count() const { return first_id + static_cast<u32>(offsets.size()); }
  RawType raw(u32 own_id) const { return load<RawType>(types + offsets[own_id - first_id]); }
  void build_index(const Btf& btf) const;
  bool scan_pays() const;
  std::optional<u32> scan(const Btf& btf, std::string_view name, Kind kind) const;

  /// Opens `bytes`; fills everything but the storage.
  Result<void> open();
  Result<void> scan_types();
  Result<void> check_chains(std::span<const u32> links) const;
  /// The sentence for the first type whose name or reference is out of range.
  Error explain_fault() const;
};

}  // namespace skep::btf
