// struct_ops: a kernel structure of function pointers whose functions are BPF programs (a TCP congestion control).
//
// The object describes the structure as it was when it was compiled; the kernel's own may have other offsets. So every
// member is placed by its name, and a member that this kernel lacks must be zero. The kernel wraps the structure:
// `struct bpf_struct_ops_NAME { ...; struct NAME data; }` is the map's value.
// A map with BPF_F_LINK (section ".struct_ops.link", 6.4) is registered by a link; others by filling the map, and
// unregistered by deleting its element. Since 6.9 modules have such structures, too: then the wrapper, and the numbers
// of types, are the module's.
// Source: kernel/bpf/bpf_struct_ops.c, Documentation/bpf/libbpf (struct_ops).
#pragma once
#include <memory>
#include <skep/backend.hpp>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "kernel/kernel_types.hpp"
#include "kernel/map_handle.hpp"

namespace skep::kernel {

/// The kernel's side of one structure.
struct OpsLayout {
  std::string name;                       ///< "tcp_congestion_ops"
  std::string module;                     ///< whose it is, or "": the kernel's own
  std::shared_ptr<const btf::Btf> types;  ///< the kernel's, or the module's on top of them
  u32 struct_id = 0;                      ///< in `types`: what its programs are bound to
  u32 value_id = 0;                       ///< of the wrapper: btf_vmlinux_value_type_id
  u32 value_size = 0;                     ///< bytes of the wrapper
  u32 data_offset = 0;                    ///< bytes of the structure in it
};

/// Errors: unsupported, where this kernel has no such structure, or it cannot be made of programs.
Result<OpsLayout> ops_layout(const ObjectSpec& object, const MapSpec& map, KernelTypes& kernel);

/// The number of the member that `program` implements, in the kernel's structure; nullopt: in none of the object's
/// maps.
struct OpsMember {
  OpsLayout layout;
  u32 member = 0;
};
Result<std::optional<OpsMember>> ops_member(const ObjectSpec& object, std::string_view program, KernelTypes& kernel);

/// The map's value: the object's initial values at the kernel's offsets, descriptors of programs in their members.
/// `fd_of(name)`: -1 where a program is not loaded. Errors: unsupported, naming a member this kernel does not have.
Result<std::vector<std::byte>> ops_value(const ObjectSpec& object, const MapSpec& map, const OpsLayout& layout,
                                         const std::function<int(std::string_view)>& fd_of);

/// Registers the structure. The value is written here (once), since it is complete only when the programs are loaded.
Result<std::unique_ptr<Link::Impl>> attach_ops(const std::shared_ptr<KernelMap>& map, std::span<const std::byte> value,
                                               bool with_link);

}  // namespace skep::kernel
