// Which helper may work with which map type.
//
// Two directions, as the kernel checks them: a map type that only certain helpers serve (a ring buffer knows no
// look-up), and a helper that serves only certain map types (bpf_tail_call wants a program array).
// Source: Linux 6.18, check_map_func_compatibility.
#pragma once
#include "catalog/helpers.hpp"
#include "catalog/program_classes.hpp"

namespace skep::catalog {

/// Whether the verifier lets `helper` have a map of `type`.
bool may_use(HelperId helper, MapType type) noexcept;

/// Whether a look-up's result may be read and written as a plain value.
bool has_plain_values(MapType type) noexcept;

/// Whether Linux lets sleepable programs have a map of `type`.
bool is_for_sleepers(MapType type) noexcept;

/// The kernel's structure behind a map of `type`; "" where none can be read.
std::string_view kernel_struct_of(MapType type) noexcept;

}  // namespace skep::catalog
