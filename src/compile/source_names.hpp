// The names of a C text: which it uses, and which it defines itself.
//
// What a BCC source needs of the kernel is found by its words: a tag behind `struct` is a kernel record unless the
// source has `struct X {`, any other word may be a typedef, an enumerator or a macro unless the source defines that.
// Words are enough: a name too many costs a line of C, a name that the source defines itself always wins.
#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace skep::compile {

using NameSet = std::unordered_set<std::string>;

struct SourceNames {
  NameSet words;         ///< every identifier, also member names
  NameSet beginnings;    ///< of names that macros paste together: BPF_MAP_TYPE_##kind
  NameSet tags;          ///< what stands behind struct, union, enum
  NameSet defined_tags;  ///< `struct X {`, `union X {`, `enum X {`
  NameSet defined;       ///< macros, functions with a body, typedefs, enumerators, maps
  NameSet macros;        ///< of these, the macros without parameters: no other name may be spelled like them
  std::unordered_map<std::string, std::string> stands_for;  ///< of these, the first name of what they are replaced with

  NameSet functions;  ///< of these, the functions
  NameSet called;     ///< functions that are also named before a parenthesis elsewhere

  /// Adds the names of a text whose comments and strings are blanked.
  void add(std::string_view clean);
  /// `struct CTXTYPE *`, where CTXTYPE is a macro: names the tag that it stands for. After the last text.
  void replace_macros_in_tags();
};

}  // namespace skep::compile
