// Types of the modules that are loaded now: /sys/kernel/btf/MODULE.
//
// A module's types are split from the kernel's: their numbers, and their strings, continue after the kernel's.
// Functions and types that are not in the kernel itself are looked for here; a distribution's kernel has most of its
// file systems, packet filters and drivers in modules. Files are read at the first question. Modules come and go while
// a process lives: where a name is not found, refresh() lists the directory (some 50 us), and reads what is new. A
// module that was taken out and put in again has another file of the same name. Source: Documentation/bpf/btf.rst;
// kernel/bpf/btf.c, btf_module_notify.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <skep/result.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "btf/btf.hpp"

namespace skep::kernel {

/// A type of the kernel (module: "") or of a module.
struct KernelType {
  u32 id = 0;
  std::string module;
};

class ModuleTypes {
 public:
  explicit ModuleTypes(std::filesystem::path directory) : directory_(std::move(directory)) {}

  /// In the module `only`, or in the first that has it where that is "". `kernel`: what the modules' types are split
  /// from. What was found when the modules were listed last; a module that is gone since is not named.
  std::optional<KernelType> find(std::string_view name, btf::Kind kind, std::string_view only,
                                 const std::shared_ptr<const btf::Btf>& kernel);
  /// Lists the modules again, and reads those that came. Whether there were any.
  bool refresh(const std::shared_ptr<const btf::Btf>& kernel);
  /// All types of one, as they were when the modules were listed last. Errors: not_found (no such module, or it has no
  /// types that make sense).
  Result<std::shared_ptr<const btf::Btf>> types(const std::string& module) const;

 private:
  struct Module {
    u64 file = 0;                           ///< the inode of its types
    std::shared_ptr<const btf::Btf> types;  ///< null: they make no sense
  };

  std::filesystem::path directory_;
  std::map<std::string, Module, std::less<>> modules_;
  bool is_listed_ = false;
};

/// The kernel's own object of a module's types, by which a program says that it means one of them.
/// Errors: not_found, permission.
Result<base::Fd> open_module_types(std::string_view module);

}  // namespace skep::kernel
