// The running kernel's own types and symbols: /sys/kernel/btf/vmlinux, /proc/kallsyms, the kernel configuration.
//
// All of it is read when it is first asked for: a program that needs none of it pays nothing (vmlinux BTF takes a
// millisecond to walk, kallsyms the kernel 40 ms to print).
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "btf/btf.hpp"
#include "kernel/module_types.hpp"

namespace skep::kernel {

class KernelTypes {
 public:
  /// `btf`: another BTF file for CO-RE, or empty for the running kernel's.
  explicit KernelTypes(std::filesystem::path btf) : btf_path_(std::move(btf)) {}

  /// Types for CO-RE. Errors: unsupported, saying what a kernel needs to have them.
  Result<std::shared_ptr<const btf::Btf>> for_core();
  /// The running kernel's own types: what attach_btf_id and kfunc numbers refer to. Read once for the process.
  static Result<std::shared_ptr<const btf::Btf>> running();

  /// BTF id of a function of the kernel itself. Errors: not_found.
  Result<u32> function(std::string_view name);
  /// The same, also in the modules that are loaded; "MODULE:NAME" in that one. Errors: not_found.
  Result<KernelType> any_function(std::string_view name);
  /// BTF id of the typedef that describes a raw tracepoint ("sys_enter"). Errors: not_found.
  Result<u32> tracepoint(std::string_view name);
  /// The same, also in modules.
  Result<KernelType> any_tracepoint(std::string_view name);
  /// Whether a function is as a program declares it: one name has had other parameters in other kernels.
  bool is_declared_so(const KernelType& function, const btf::Btf& local, u32 declaration);
  /// A variable or function by its name, also in modules.
  std::optional<KernelType> symbol(std::string_view name);
  /// A structure of the kernel, or of a module, and the types that it is one of. Errors: not_found.
  struct Structure {
    KernelType type;
    std::shared_ptr<const btf::Btf> types;
  };
  Result<Structure> structure(std::string_view name);
  /// The types of modules that have one of these structures, unions, enumerations or typedefs, which the kernel itself
  /// has not. A module whose types cannot be read is left out; so are all where CO-RE goes by another file.
  std::vector<std::shared_ptr<const btf::Btf>> modules_with(const std::set<std::string, std::less<>>& names);
  /// Parameters of a function; unsupported when one is passed by value as a structure.
  Result<u32> argument_count(std::string_view function_name);
  /// For each parameter of a function the structure or union that it points to, "" for other types; nothing where the
  /// function is not known. The names live as long as this object.
  std::vector<std::string_view> parameter_structures(std::string_view function_name);
  /// The same of the arguments that a raw tracepoint hands to programs, and how many they are (errors: not_found).
  std::vector<std::string_view> tracepoint_structures(std::string_view name);
  Result<u32> tracepoint_argument_count(std::string_view name);
  /// The name of a parameter, by its place from 0; its number, from 1, where this kernel has no such function.
  std::string parameter_name(std::string_view function_name, u32 index);
  /// Byte offset of a member of a structure, also of one inside its members without a name, or none (bit-fields
  /// included).
  std::optional<u32> member_offset(std::string_view structure, std::string_view member);
  /// The same with the member's size in bytes; no bit-fields. "d_name.len": a member of the member.
  struct MemberPlace {
    u32 offset = 0, bytes = 0;
  };
  std::optional<MemberPlace> member_place(std::string_view structure, std::string_view member);
  /// The value of an enumerator of an enumeration.
  std::optional<s64> enumerator(std::string_view enumeration, std::string_view name);
  /// Byte offset of thread_info::status inside task_struct, where both are known.
  std::optional<u32> thread_status_offset();

  /// Addresses of kernel symbols; names that do not exist or are hidden (kernel.kptr_restrict) are left out.
  std::map<std::string, u64, std::less<>> addresses(const std::set<std::string, std::less<>>& names) const;

 private:
  Result<std::vector<btf::Param>> tracepoint_arguments(std::string_view name);
  static std::optional<MemberPlace> place_of(std::string_view structure, std::string_view member, bool of_bits);
  /// In the kernel itself.
  static Result<std::optional<u32>> own(std::string_view name, btf::Kind kind);
  /// In the modules that are loaded now: those that came since they were listed are looked for where a name is missing.
  std::optional<KernelType> in_modules(std::string_view name, std::initializer_list<btf::Kind> kinds,
                                       std::string_view only, const std::shared_ptr<const btf::Btf>& kernel);

  std::filesystem::path btf_path_;
  std::mutex mutex_;
  ModuleTypes modules_{"/sys/kernel/btf"};
  std::shared_ptr<const btf::Btf> core_;
};

}  // namespace skep::kernel
