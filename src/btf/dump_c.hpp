// Types as C that compiles: the `vmlinux.h` a program includes instead of kernel headers.
//
// Types come out in an order in which each is complete before it is needed by value, with forward declarations for
// what is only pointed to. The layout is exact: where C would place a member elsewhere, unnamed bit-fields fill the
// gap, and structs whose members sit below their natural alignment are packed. Names that occur more than once get
// "___2", "___3", ... (CO-RE ignores what follows three underscores).
#pragma once
#include <functional>

#include "btf/btf.hpp"

namespace skep::btf {

struct DumpOptions {
  /// Include guard and preserve_access_index for every record, as a vmlinux.h has them.
  bool header = true;
  /// With a header: prototypes of the kernel functions that programs may call (kfuncs).
  bool kfuncs = true;
  /// Records that the reader has a definition of already: named, never printed. May be empty.
  std::function<bool(const Type&)> is_known;
  /// What stands between `struct` and a record's name, or its body where it has none: "__attribute__((...)) ". Records
  /// inside do not inherit it. May be empty.
  std::function<std::string_view(const Type&)> attribute;
};

/// All types. Errors: malformed (a struct that contains itself), limit (types nested absurdly deep, output too large).
Result<std::string> dump_c(const Btf& btf, const DumpOptions& options = {});
/// The given types and everything they need.
Result<std::string> dump_c(const Btf& btf, std::span<const u32> roots, const DumpOptions& options);
/// One declaration: "struct task_struct *task". Errors: limit.
Result<std::string> declaration(const Btf& btf, u32 type_id, std::string_view name);

}  // namespace skep::btf
