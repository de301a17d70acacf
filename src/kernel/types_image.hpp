// An object's BTF as this kernel accepts it: a copy that can be repaired and added to.
//
// clang's BTF is not quite what the kernel takes: data sections have no size, extern variables and functions have a
// linkage that the kernel refuses, parameters of extern functions have no names, and sections such as .maps or
// .ksyms describe nothing that exists after loading. Type ids must stay as they are, since maps, functions and
// CO-RE records name them; so types are repaired in place or replaced by another type of the same id.
// The strings of line info and a few functions of our own (the carrier of a kprobe program) are appended.
// Source: Documentation/bpf/btf.rst; the refusals are those of kernel/bpf/btf.c.
#pragma once
#include <skep/spec.hpp>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace skep::kernel {

class TypesImage {
 public:
  /// `data_sections`: the object's global data maps, by section name; their sizes complete the data sections.
  /// Errors: malformed.
  static Result<TypesImage> copy_of(std::span<const std::byte> btf, std::span<const MapSpec> data_sections);
  /// An image with no types, to add to.
  static TypesImage empty();

  /// The offset of a string, added once.
  u32 string(std::string_view text);

  /// A twin of a BTF_KIND_FUNC with static linkage and another name: calls to it are verified with their caller.
  /// 0 when `function_id` is no function.
  u32 static_twin(u32 function_id, std::string_view name);
  /// `int name(void *ctx)`.
  u32 context_function(std::string_view name);

  std::vector<std::byte> bytes() const;
  u32 type_count() const noexcept { return next_id_; }

 private:
  struct Words;
  Result<void> copy_type(std::span<const std::byte> types, u64& offset, std::span<const MapSpec> data_sections);
  void repair_data_section(std::span<u32> words, const MapSpec& map);
  u32 append(std::initializer_list<u32> words);
  std::string_view string_at(u32 offset) const;

  std::vector<u32> types_;   ///< BTF is 32-bit words throughout
  std::vector<u32> starts_;  ///< by id: index into types_
  std::string strings_ = std::string(1, '\0');
  std::unordered_map<std::string, u32> known_;
  u32 next_id_ = 1;
  u32 int_id_ = 0, pointer_id_ = 0;
};

}  // namespace skep::kernel
