// What stands between instructions in a dump: prototypes and source lines.
#pragma once
#include <skep/inspect.hpp>
#include <string>

#include "base/json_writer.hpp"
#include "btf/btf.hpp"

namespace skep::inspect {

/// "int hello(void * ctx)", or the bare name where there is no type.
std::string prototype(const btf::Btf* types, const FunctionInfo& function);
/// "; C source [file:a.c line_num:3 line_col:5]" and a newline, the brackets only with numbers.
std::string line_text(const SourceLine& line, bool with_numbers);
/// The same as members of the object that is open.
void write_line(base::JsonWriter& json, const SourceLine& line, bool with_numbers);

}  // namespace skep::inspect
