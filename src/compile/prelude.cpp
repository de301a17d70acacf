// Macros for bcc.h (licence, which map a record goes through), then the records of the tracepoints used.
#include "compile/prelude.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "compile/tracepoints.hpp"

namespace skep::compile {

Result<std::string> prelude_text(const Scan& scan) {
  if (scan.dialect != Dialect::bcc) return std::string();
  std::string out;
  if (scan.names_uapi) out += "#define SKEP_FULL_UAPI\n";
  if (scan.defines_license) out += "#define SKEP_OWN_LICENSE\n";
  if (scan.license) {
    const bool sound = !scan.license->empty() && scan.license->size() < 64 &&
                       scan.license->find_first_of("\"\\\n\r") == std::string::npos;
    if (!sound)
      return fail(Code::invalid_argument,
                  fmt::format("BPF_LICENSE is `{}`; expected a name such as GPL or Dual BSD/GPL", *scan.license));
    out += fmt::format("#define SKEP_LICENSE \"{}\"\n", *scan.license);
  }
  for (const RecordCall& call : scan.record_calls)
    out += fmt::format("#define SKEP_MAP_AT_{} {}\n", call.line, call.map);
  for (const MapOfMaps& map : scan.maps_of_maps)
    out += fmt::format("#define SKEP_INNER_OF_{} skep_map_{}\n", map.outer, map.inner);
  // BCC inlines what is called, so it is no program of its own: bcc_program.cpp reads these names.
  for (const std::string& function : scan.called)
    out += fmt::format("char skep_called__{} __attribute__((section(\"skep.records\"), used));\n", function);
  for (const TracepointName& name : scan.tracepoints) out += SKEP_TRY(tracepoint_struct(name));
  return out;
}

}  // namespace skep::compile
