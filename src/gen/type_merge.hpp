// Types of several BTFs as one, each type once.
//
// Two types are one when nothing distinguishes them however far one follows their references: the coarsest partition
// that is stable under "refer to the same classes", found by refining the partition by own content (Hopcroft's and
// Moore's idea for automata). Cycles need no special case. A forward declaration is the record of its name where all
// inputs agree which that is. Variables and sections stay apart: their identity is a place, not a shape.
#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "btf/btf.hpp"

namespace skep::gen {

using TypesOf = std::shared_ptr<const btf::Btf>;

/// .BTF bytes as they grow: types in the file's layout, strings once each.
class BtfBytes {
 public:
  u32 string(std::string_view text);
  u32 begin(std::string_view name, u32 info, u32 size_or_type);  ///< returns the id
  void put(u32 word);
  u32 next_id() const { return next_id_; }
  std::vector<std::byte> finish() const;

 private:
  std::vector<u32> types_;
  std::string strings_ = std::string(1, '\0');
  std::unordered_map<std::string, u32> known_;
  u32 next_id_ = 1;
};

/// A type of one of the inputs.
struct TypeRef {
  u32 input = 0;
  u32 id = 0;
  auto operator<=>(const TypeRef&) const = default;
};

class TypeMerge {
 public:
  explicit TypeMerge(std::span<const TypesOf> inputs);
  /// From now on `from` is written as `to` (an extern and what defines it).
  void redirect(TypeRef from, TypeRef to) { redirected_[key(from)] = to; }
  /// Writes every type but sections and the variables nobody asks for; fixes the ids.
  void write(BtfBytes& out);
  /// The id a type got; 0 for void.
  u32 id_of(TypeRef ref) const;

 private:
  static u64 key(TypeRef ref) { return u64{ref.input} << 32 | ref.id; }
  u32 flat(TypeRef ref) const { return ref.id == 0 ? 0 : first_[ref.input] + ref.id; }
  TypeRef final_of(TypeRef ref) const;
  void resolve_forwards();
  void refine();
  std::vector<u32> references(TypeRef ref) const;
  std::string content(TypeRef ref) const;
  void write_type(BtfBytes& out, TypeRef ref);

  std::vector<TypesOf> inputs_;
  std::vector<u32> first_;    ///< by input: flat number of its void
  std::vector<TypeRef> all_;  ///< by flat number
  std::vector<u32> class_;    ///< by flat number
  std::vector<u32> ids_;      ///< by class
  std::unordered_map<u64, TypeRef> redirected_;
};

/// Whether a declaration and a definition say the same: names of records and layouts, not names of parameters; a
/// forward declaration fits its record, an array without a length one with.
bool same_type(const btf::Btf& a, u32 a_id, const btf::Btf& b, u32 b_id);

}  // namespace skep::gen
