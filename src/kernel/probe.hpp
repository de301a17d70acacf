// What the running kernel has, type by type and helper by helper, found by the smallest attempt that shows it.
#pragma once
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <string>
#include <vector>

namespace skep::kernel {

/// Errors: permission, unsupported. The probes below need what this asks for.
Result<void> probe_access();

/// Whether a program of this type can be loaded, by loading one; for the types that name a kernel function, whether the
/// kernel gets as far as looking for it.
bool probe(ProgramType type);
/// Whether a map of this type can be made, by making one.
bool probe(MapType type);
/// Names ("bpf_map_lookup_elem") of the helpers that programs of this type may call; none where it cannot be loaded.
/// Left out are trace_printk, trace_vprintk and probe_write_user, whose mere mention writes to the kernel's log.
std::vector<std::string> probe_helpers(ProgramType type);

struct Instructions {
  bool large_programs = false;  ///< more than 4096 instructions
  bool bounded_loops = false;
  bool isa_v2 = false, isa_v3 = false, isa_v4 = false;
};
Instructions probe_instructions();

/// A sysctl or a value of the kernel's configuration.
struct Setting {
  std::string name;
  std::optional<std::string> value;
  bool is_number = false;
};
/// In bpftool's order.
std::vector<Setting> probe_settings();

}  // namespace skep::kernel
