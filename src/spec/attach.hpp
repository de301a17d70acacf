// What a SEC() name says beyond its AttachTarget. Private to this room.
#pragma once
#include <skep/spec.hpp>
#include <string_view>

namespace skep::spec {

/// True for ".s" sections, and for "syscall", whose programs always sleep.
bool is_sleepable_section(std::string_view section) noexcept;

/// What older loaders made of a section without a row: "xdp_fwd", "socket2" and the like began with the name of a
/// packet or socket hook. nullopt where that says nothing either.
std::optional<AttachTarget> legacy_target(std::string_view section);

}  // namespace skep::spec
