// The kernel functions that the user engine has, by name.
//
// Each file of bodies has a list of rows; kfunc() looks through them all. A body gets the run (a helper::Call) and
// r1..r5 as the program left them: `hidden` arguments of catalog/kfuncs.def hold anything.
#pragma once
#include <skep/spec.hpp>
#include <span>
#include <string_view>

#include "base/run.hpp"

namespace skep::helper {

/// The body of the kernel function of that name (a flavour "name___x" is the function), or nullptr.
base::HelperFn kfunc(std::string_view name) noexcept;
/// The same for a program of this type: of a packet that such programs may not write, bpf_dynptr_from_skb() gives a
/// read-only dynptr, as the kernel chooses when it loads them.
base::HelperFn kfunc_for(std::string_view name, ProgramType type) noexcept;

struct KfuncRow {
  std::string_view name;
  base::HelperFn body;
};
std::span<const KfuncRow> basic_kfuncs() noexcept;    ///< kfuncs.cpp: iterators, exceptions, sections, arenas
std::span<const KfuncRow> lock_kfuncs() noexcept;     ///< locks.cpp: bpf_res_spin_lock
std::span<const KfuncRow> dynptr_kfuncs() noexcept;   ///< dynptr.cpp
std::span<const KfuncRow> string_kfuncs() noexcept;   ///< kfunc_strings.cpp
std::span<const KfuncRow> object_kfuncs() noexcept;   ///< kfunc_objects.cpp
std::span<const KfuncRow> work_kfuncs() noexcept;     ///< timers.cpp
std::span<const KfuncRow> cpumask_kfuncs() noexcept;  ///< kfunc_cpumask.cpp

}  // namespace skep::helper
