// A few look-ups in the kernel's types without reading all of them.
//
// Parsing and indexing vmlinux BTF (about 150,000 types) takes 15 ms; attaching a typed tracepoint needs one id, a
// carried system call one member's offset. A name lies in the string table once, so its offset is found by one search
// for "\0name\0", and the type by one walk over the headers, comparing two words each: about 1 ms, nothing kept.
// Source: Documentation/bpf/btf.rst, section 2.
#pragma once
#include <memory>
#include <optional>
#include <skep/result.hpp>
#include <string_view>
#include <vector>

#include "base/mapped_file.hpp"
#include "btf/btf.hpp"

namespace skep::kernel {

class TypeFinder {
 public:
  /// Errors: not_found or io (the file), malformed (its header).
  static Result<TypeFinder> open(const std::string& path);
  static Result<TypeFinder> over(std::vector<std::byte> bytes);

  /// The id of the first type of that kind and name.
  std::optional<u32> find(std::string_view name, btf::Kind kind) const;
  /// Byte offset of a member of a structure, or none (bit-fields included).
  std::optional<u32> member_offset(std::string_view structure, std::string_view member) const;

 private:
  struct Place {
    u32 id;
    u64 offset;  ///< of the type's header in types_
  };
  TypeFinder() = default;
  Result<void> read_header(std::span<const std::byte> bytes);
  std::optional<u32> string_offset(std::string_view text) const;
  std::optional<Place> locate(std::string_view name, btf::Kind kind) const;

  std::unique_ptr<base::MappedFile> mapped_;
  std::vector<std::byte> owned_;
  std::span<const std::byte> types_, strings_;
};

}  // namespace skep::kernel
