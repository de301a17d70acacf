// Names of loaded objects: what the kernel stores, and what to say when nobody has that name.
//
// A BPF object's name is at most 15 characters of [A-Za-z0-9_.] (BPF_OBJ_NAME_LEN is 16 with the zero). Both
// engines shorten names in the same way, so that `skep map dump name counter_table` finds the same map in
// either. Maps of global data are called after their object and section ("hello.rodata"), as libbpf does.
// Source: kernel/bpf/syscall.c, bpf_obj_name_cpy; libbpf, internal_map_name.
#pragma once
#include <skep/inspect.hpp>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>

namespace skep::backend {

/// Longest name of a program, map or BTF object, without the terminating zero.
inline constexpr std::size_t max_name_bytes = 15;

/// `name` as the kernel would store it: other characters become '_', the rest beyond 15 is dropped.
std::string stored_name(std::string_view name);

/// The stored name of a map: its own, or for global data the object's name with the section's behind it.
std::string stored_map_name(std::string_view object, const MapSpec& map);

/// Whether a person who writes `wanted` means the object stored as `stored`: equal, or equal after shortening.
bool means(std::string_view wanted, std::string_view stored);

/// "object hello has no program "helo"; did you mean "hello"? It has: hello, bye".
Error no_such(std::string_view owner, std::string_view kind, std::string_view wanted,
              std::span<const std::string_view> candidates);

/// Whether `map` can stand for a map of the object that is described by `wanted`.
/// Errors: invalid_argument, saying in what they differ.
Result<void> check_given(const MapSpec& wanted, const MapInfo& map);

/// bpftool's name of an attach type ("cgroup_inet_ingress"), or "unknown".
std::string_view attach_type_name(AttachType type) noexcept;

}  // namespace skep::backend
