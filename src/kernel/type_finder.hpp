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
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.hpp"
#include "btf/btf.hpp"

namespace skep::kernel {

/// One thread at a time.
class TypeFinder {
 public:
  /// Errors: not_found or io (the file), malformed (its header). `base`: what the file's types were split from, which
  /// must outlive it, or nullptr; find() then finds the file's own types, under the numbers they have together.
  static Result<TypeFinder> open(const std::string& path, const TypeFinder* base = nullptr);
  static Result<TypeFinder> over(std::vector<std::byte> bytes, const TypeFinder* base = nullptr);

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
  u32 count() const;
  std::optional<u32> own_string(std::string_view text) const;
  /// The offsets under which types here may name it: the base's string, and one of our own.
  std::vector<u32> strings_equal_to(std::string_view text) const;
  std::optional<Place> locate(std::string_view name, btf::Kind kind) const;

  std::unique_ptr<base::MappedFile> mapped_;
  std::vector<std::byte> owned_;
  std::span<const std::byte> types_, strings_;
  const TypeFinder* base_ = nullptr;
  mutable std::optional<u32> count_;
  mutable std::string last_text_;  ///< many split files ask their base for the same string
  mutable std::optional<u32> last_string_;
  u32 first_id_ = 1, first_string_ = 0;  ///< numbers of the first type here and the first byte of strings_
};

}  // namespace skep::kernel
