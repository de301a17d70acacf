// A file that a person names, as an ObjectSpec: read or compiled, then made ready.
//
// The object of a BCC source says less than one of libbpf's style, because BCC decides some things in its
// loader. finish_bcc() does the same three things here: it turns function names into attach targets, lets
// handlers have parameters, and drops read-only data that no instruction refers to (texts of
// bpf_trace_printk that became stores). Record types are noted for every object.
#include <fmt/format.h>

#include "base/mapped_file.hpp"
#include "compile/bcc_program.hpp"
#include "compile/compile.hpp"
#include "compile/record_types.hpp"
#include "spec/classic.hpp"

namespace skep::compile {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_file_bytes = 256u << 20;

bool is_elf(std::span<const std::byte> bytes) {
  constexpr std::byte magic[4] = {std::byte{0x7f}, std::byte{'E'}, std::byte{'L'}, std::byte{'F'}};
  return bytes.size() >= 4 && std::equal(magic, magic + 4, bytes.begin());
}

Result<ObjectSpec> load_compiled(const Compiled& compiled, std::string_view name, const CompileOptions& options) {
  if (!compiled.warnings.empty() && options.on_warning) options.on_warning(compiled.warnings);
  return load_object(compiled.object, name);
}

}  // namespace

Result<ObjectSpec> load_object(std::span<const std::byte> elf, std::string_view name) {
  ObjectSpec spec = SKEP_TRY(ObjectSpec::from_bytes(elf, name));
  SKEP_TRY(finish_bcc(spec));
  note_record_types(spec);
  return spec;
}

Result<ObjectSpec> load_program(const fs::path& path, const CompileOptions& options) {
  const auto bytes = SKEP_TRY(base::read_file(path, most_file_bytes));
  if (is_elf(bytes)) return SKEP_TRY_AT(path.native(), load_object(bytes, path.filename().native()));
  if (path.extension() == ".o" || path.extension() == ".elf" || bytes.empty())
    return fail(Code::malformed, fmt::format("{}: {}; expected an ELF object or C source", path.native(),
                                             bytes.empty() ? "an empty file" : "not an ELF object"));
  const std::string_view text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  if (spec::looks_classic(text)) {
    const auto filter = SKEP_TRY_AT(path.native(), spec::parse_classic(text));
    return SKEP_TRY_AT(path.native(), spec::classic_object(filter));
  }
  std::error_code error;
  // What can be read once only (a pipe) has been read now.
  const auto compiled =
      fs::is_regular_file(path, error)
          ? SKEP_TRY(compile_file(path, options))
          : SKEP_TRY(compile_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "input.c", options));
  return load_compiled(compiled, path.filename().native(), options);
}

Result<ObjectSpec> load_text(std::string_view text, std::string_view name, const CompileOptions& options) {
  const auto compiled = SKEP_TRY(compile_text(text, name, options));
  return load_compiled(compiled, name, options);
}

}  // namespace skep::compile
