// Making an object's maps in the kernel.
//
// The order matters: the types first (maps name them), inner templates before their outer maps, contents of maps of
// maps when every map exists. Program arrays are filled after the programs are loaded.
#pragma once
#include <memory>
#include <skep/backend.hpp>
#include <skep/spec.hpp>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "kernel/features.hpp"
#include "kernel/kernel_types.hpp"
#include "kernel/map_handle.hpp"
#include "kernel/token.hpp"

namespace skep::kernel {

/// Every map of the object, in its order: made, or taken from `given`. `btf_fd`: the object's types, or -1. `token`:
/// what lends the right to it, or nullptr. Errors name the map and what was refused.
Result<std::vector<std::shared_ptr<KernelMap>>> create_maps(const ObjectSpec& object,
                                                            std::span<const LoadOptions::Given> given, int btf_fd,
                                                            KernelTypes& kernel, const Token* token);

/// One of the object's maps, without what a map of maps or a program array is to hold.
Result<std::shared_ptr<KernelMap>> create_map_of(const ObjectSpec& object, const MapSpec& map, int btf_fd,
                                                 KernelTypes& kernel);

/// One map that belongs to no object; `inner_fd`: the template of a map of maps, or -1.
Result<std::shared_ptr<KernelMap>> create_map(const MapSpec& map, int inner_fd);

/// Puts `fd` (a map or a program) at `index` of a map of maps or a program array.
Result<void> set_slot(const KernelMap& map, u32 index, int fd);

/// How the kernel's BPF_MAP_CREATE sees a map: sizes filled in that the type implies.
MapSpec completed(const MapSpec& map, u32 cpus, u64 page_size);

/// Loads types. `bytes` as TypesImage makes them. Errors: the kernel's reason from its log.
Result<base::Fd> load_types(std::span<const std::byte> bytes, const Token* token);

}  // namespace skep::kernel
