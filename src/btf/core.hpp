// CO-RE: finds what a program meant in types that were compiled elsewhere.
//
// A relocation record says "this instruction holds the offset (size, existence, ...) of a.b[3].c of the program's own
// type". resolve() looks for the type of the same essential name in the target, follows the same names through it,
// and returns the number that is true there. Several targets may match (flavours, duplicates): they must agree.
// Source: the relocation kinds of include/uapi/linux/bpf.h, enum bpf_core_relo_kind; behaviour as libbpf's.
#pragma once
#include <skep/spec.hpp>

#include "btf/btf.hpp"

namespace skep::btf {

/// UAPI numbers.
enum class CoreKind : u32 {
  field_byte_offset,
  field_byte_size,
  field_exists,
  field_signed,
  field_lshift_u64,
  field_rshift_u64,
  type_id_local,
  type_id_target,
  type_exists,
  type_size,
  enumval_exists,
  enumval_value,
  type_matches,
};

/// The answer to one relocation.
struct CoreValue {
  u64 value = 0;         ///< what is true in the target
  u64 original = 0;      ///< what the compiler wrote, from the program's own types
  bool found = false;    ///< a type of the target matched
  bool poison = false;   ///< nothing matched and the value is needed: the instruction must never run
  bool validate = true;  ///< the instruction must hold `original`; false where the compiler may differ (bit-fields)
  /// Bytes of the field in the program's and in the target's type (field_byte_offset of plain fields, else 0).
  u32 original_size = 0;
  u32 size = 0;
  bool resizable = true;  ///< a load or store may change its width: unsigned integers, pointers
};

/// Bounds the work that all relocations of an object may cause together, in types, members and enumerators looked at.
/// Those of a large object (thousands) take a hundredth of it; a crafted one could go on for hours.
struct CoreBudget {
  u64 left = most;
  static constexpr u64 most = 50'000'000;  ///< about a second
};

/// Resolves one relocation of a program with types `local` against `target`. `budget`: where several belong together.
/// Errors: malformed (the record contradicts the types), unsupported (unknown kind), rejected (candidates disagree),
/// limit (the budget is used up).
Result<CoreValue> resolve(const Btf& local, const CoreRelocation& relocation, const Btf& target,
                          CoreBudget* budget = nullptr);

/// One place of the target that a relocation matches: the type it was found by, and the way from there.
struct CorePlace {
  struct Step {
    u32 type_id = 0;  ///< of the record, enumeration or element
    u32 index = 0;
    bool is_member = false;  ///< member or enumerator `index` of the type; unnamed members on the way are not listed
  };
  u32 root = 0;
  std::vector<Step> steps;
};

/// All the places that resolve() considers (several when types of one name repeat), for tools that copy types.
/// Errors: as resolve().
Result<std::vector<CorePlace>> find_places(const Btf& local, const CoreRelocation& relocation, const Btf& target,
                                           CoreBudget* budget = nullptr);

/// Whether a function of the target takes and gives what the local declaration of it says: as many parameters, of the
/// same nature (sizes of integers and names of structures do not count, as for CO-RE). Errors: limit.
Result<bool> declarations_fit(const Btf& local, u32 our_function, const Btf& target, u32 their_function);

/// The relocation as C: "struct task_struct.pid (0:1)", for messages.
std::string describe(const Btf& local, const CoreRelocation& relocation);

}  // namespace skep::btf
