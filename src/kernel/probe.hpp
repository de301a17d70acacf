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
/// Gives up, for the rest of this process, the capabilities that bpf(2) asks for: what follows probes as a user without
/// privileges would. Errors: io.
Result<void> drop_bpf_capabilities();
/// Index of a network device. Errors: not_found.
Result<u32> probe_device(const std::string& name);

// `device`: 0 asks the kernel; else the index of a network device, which is asked to take the program or map itself
// (hardware offload, 4.13).

/// Whether a program of this type can be loaded, by loading one; for the types that name a kernel function, whether the
/// kernel gets as far as looking for it.
bool probe(ProgramType type, u32 device = 0);
/// Whether a map of this type can be made, by making one.
bool probe(MapType type, u32 device = 0);
/// Names ("bpf_map_lookup_elem") of the helpers that programs of this type may call; none where it cannot be loaded.
/// Left out unless `full` are trace_printk, trace_vprintk and probe_write_user, whose mere mention writes to the
/// kernel's log.
std::vector<std::string> probe_helpers(ProgramType type, bool full = false, u32 device = 0);
/// Whether probe_helpers asks for a helper ("trace_printk") only when `full`.
bool is_noisy(std::string_view helper);

struct Instructions {
  bool large_programs = false;  ///< more than 4096 instructions
  bool bounded_loops = false;
  bool isa_v2 = false, isa_v3 = false, isa_v4 = false;
};
Instructions probe_instructions(u32 device = 0);

/// A sysctl or a value of the kernel's configuration.
struct Setting {
  std::string name;
  std::optional<std::string> value;
  bool is_number = false;
};
/// In bpftool's order.
std::vector<Setting> probe_settings();

}  // namespace skep::kernel
