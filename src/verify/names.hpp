// What C calls a value and its type: from BTF where that tells (parameters, globals, fields, map values), and from the
// declaration in a line's text for locals, which BTF does not have.
#pragma once
#include <skep/spec.hpp>
#include <string>

#include "btf/btf.hpp"

namespace skep::verify {

class Names {
 public:
  Names(const ProgramSpec& program, const ObjectSpec& object) : Names(program, object.btf.get()) {}
  /// With other types than the object's: the kernel's.
  Names(const ProgramSpec& program, const btf::Btf* types) : program_(program), types_(types) {}

  /// The C type of an expression that occurs at `insn`, or "".
  std::string type_of(std::string_view expression, u32 insn) const;
  /// How many elements the array has that the expression is; 0 where it is none, or its type is not known.
  u32 elements_of(std::string_view expression, u32 insn) const;
  /// The field at `offset` of a type, as "conn.bytes", and its C type. Empty where there is none.
  struct Field {
    std::string path, type;
  };
  Field field_at(u32 type_id, u64 offset, u32 size) const;
  /// A declaration of `name` with the type: "__u64 name[4]". Empty where the type is not known.
  std::string declaration(u32 type_id, std::string_view name) const;
  /// The name of the function that `insn` belongs to.
  std::string function_of(u32 insn) const;
  const FunctionInfo* function_at(u32 insn) const;
  /// What the function that `insn` belongs to calls its parameter, counted from 0: "ctx", where types do not tell.
  std::string parameter(u32 insn, u32 number) const;

 private:
  /// A type of BTF with pointers around it that BTF need not have.
  struct Typed {
    u32 id = 0;
    u32 pointers = 0;
    bool known = false;
  };
  Typed resolve(std::string_view expression, u32 insn, u32 depth) const;
  Typed named(std::string_view name, u32 insn) const;
  Typed from_text(std::string_view type) const;
  Typed pointee(Typed t) const;
  Typed member(Typed t, std::string_view name, u32 depth) const;
  std::string text(Typed t) const;
  std::string declaration_of(std::string_view name, u32 insn) const;

  const ProgramSpec& program_;
  const btf::Btf* types_;
};

}  // namespace skep::verify
