// The kernel's types that one source uses, as C: what `#include <linux/sched.h>` and the like stand for in a BCC
// source.
//
// The whole vmlinux.h is 100,000 lines and costs a compiler a third of a second. A source names a few dozen: the
// tags behind its `struct`, the members it writes behind `->`. So a record is declared with the members whose names
// occur in the source, at their places, and bytes between them; a pointer member whose name occurs brings what it
// points to. Records carry preserve_access_index, so every access is relocated (CO-RE) where the program is loaded;
// what belongs to the user interface (contexts of programs, struct bpf_*) has a layout that never changes, and does
// not.
#pragma once
#include <memory>
#include <optional>
#include <skep/result.hpp>
#include <string>

#include "btf/btf.hpp"
#include "compile/source_names.hpp"

namespace skep::compile {

/// What a source wants of the kernel, and what it must not get because it is there already.
struct TypeWishes {
  NameSet tags;         ///< records and enumerations
  NameSet words;        ///< typedefs, enumerators, members
  NameSet beginnings;   ///< of enumerators: the source pastes the rest
  NameSet defined;      ///< typedefs, enumerators that exist: not declared again
  NameSet macros;       ///< words that cannot name a member
  NameSet source_tags;  ///< records that the source defines: a kernel record that holds one has bytes in its place
  NameSet known_tags;   ///< records that skep's headers define as the kernel does
};

struct KernelTypes {
  std::string text;
  NameSet found;    ///< typedefs and enumerators that are declared in it
  NameSet missing;  ///< tags that this BTF has no definition of
};

/// Errors: limit (types nested absurdly deep).
Result<KernelTypes> kernel_types(const btf::Btf& btf, const TypeWishes& wishes);

/// The kernel's types: of its modules the one that knows most of `tags` beside them. Read anew at every call.
Result<std::shared_ptr<const btf::Btf>> kernel_btf_with(const NameSet& tags,
                                                        const std::string& directory = "/sys/kernel/btf");

}  // namespace skep::compile
