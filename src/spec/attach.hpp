// What a SEC() name says beyond its AttachTarget. Private to this room.
#pragma once
#include <string_view>

namespace skep::spec {

/// True for ".s" sections, and for "syscall", whose programs always sleep.
bool is_sleepable_section(std::string_view section) noexcept;

}  // namespace skep::spec
