// An object's BTF with what the kernel engine adds: strings of line info, functions of its own.
//
// ObjectSpec::btf is complete as it is (the spec room fills in what compilers leave open), and its type ids must not
// change, since maps, functions and CO-RE records name them. So new types and strings go behind the old ones.
// Source: Documentation/bpf/btf.rst.
#pragma once
#include <initializer_list>
#include <memory>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "btf/btf.hpp"

namespace skep::kernel {

class TypesImage {
 public:
  /// Errors: malformed, when the header does not fit the bytes.
  static Result<TypesImage> copy_of(std::shared_ptr<const btf::Btf> types);

  /// The offset of a string, added once.
  u32 string(std::string_view text);

  /// A twin of a function with static linkage and another name: the kernel verifies it where it is called.
  /// 0 when `function_id` is no function.
  u32 static_twin(u32 function_id, std::string_view name);
  /// `int name(void *ctx)`.
  u32 context_function(std::string_view name);

  std::vector<std::byte> bytes() const;

 private:
  TypesImage() = default;
  u32 append(std::initializer_list<u32> words);

  std::shared_ptr<const btf::Btf> original_;
  std::span<const std::byte> types_;  ///< of original_
  std::vector<u32> added_;            ///< BTF is 32-bit words throughout
  std::string strings_;
  std::unordered_map<std::string, u32> known_;
  u32 next_id_ = 1;
  u32 int_id_ = 0, pointer_id_ = 0;
};

}  // namespace skep::kernel
