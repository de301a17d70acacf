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

Result<void> finish(ObjectSpec& spec) {
  SKEP_TRY(finish_bcc(spec));
  note_record_types(spec);
  return {};
}

/// The lines of a text in memory: clang puts a line's text beside its number only where it finds a file of that name.
void fill_lines(ObjectSpec& spec, std::string_view name, std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  const std::string_view file = name.substr(name.find_last_of('/') + 1);
  for (ProgramSpec& program : spec.programs)
    for (SourceLine& line : program.lines)
      if (line.text.empty() && line.line >= 1 && line.line <= lines.size() && line.file.ends_with(file))
        line.text = lines[line.line - 1];
}

/// `text` is the source where it is no file.
Result<ObjectSpec> load_compiled(const Compiled& compiled, std::string_view name, const CompileOptions& options,
                                 std::string_view text = {}) {
  if (!compiled.warnings.empty() && options.on_warning) options.on_warning(compiled.warnings);
  ObjectSpec spec = SKEP_TRY(ObjectSpec::from_bytes(compiled.object, name));
  fill_lines(spec, name, text);
  SKEP_TRY(finish(spec));
  return spec;
}

}  // namespace

Result<ObjectSpec> load_object(std::span<const std::byte> elf, std::string_view name) {
  ObjectSpec spec = SKEP_TRY(ObjectSpec::from_bytes(elf, name));
  SKEP_TRY(finish(spec));
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
  return load_compiled(compiled, name, options, text);
}

}  // namespace skep::compile
