// skep gen: files made from object files.
#include <fmt/format.h>

#include "arguments.hpp"
#include "base/mapped_file.hpp"
#include "compile/compile.hpp"
#include "compile/record_types.hpp"
#include "gen/skeleton.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep gen skeleton FILE [name NAME] [-o OUT]    a C++ header with the object, its maps, globals and\n"
    "                                                      programs as one class (FILE: an object, or C source)\n\n"
    "example:\n  skep gen skeleton count_execs.bpf.o name count_execs -o count_execs.skel.hpp\n"
    "  then, in C++:  auto counter = SKEP_TRY(count_execs::open());  SKEP_TRY(counter.load(*engine));\n";

Result<void> write_output(const std::string& output, std::string_view text) {
  if (output.empty() || output == "-") {
    fmt::print("{}", text);
    return {};
  }
  return base::write_file_atomic(output, std::as_bytes(std::span(text)));
}

bool is_c_source(std::string_view file) { return file.ends_with(".c") || file.ends_with(".h"); }

Result<int> skeleton(Words& words) {
  const std::string file = words.next();
  if (file.empty()) return fail(Code::invalid_argument, "gen skeleton: expected an object file");
  gen::SkeletonOptions options{.name = gen::class_name(file), .source = file.substr(file.find_last_of('/') + 1)};
  std::string output;
  while (!words.done()) {
    if (words.take("name"))
      options.name = words.next();
    else if (words.take("-o") || words.take("--output"))
      output = words.next();
    else
      SKEP_TRY(words.end());
  }
  std::vector<std::byte> object;
  if (is_c_source(file)) {
    auto compiled = SKEP_TRY(compile::compile_file(file));
    note(compiled.warnings);
    object = std::move(compiled.object);
  } else {
    object = SKEP_TRY(base::read_file(file));
  }
  // Read as the generated class will read it, under its name, which is part of the names of data maps.
  auto spec = SKEP_TRY_AT(file, ObjectSpec::from_bytes(object, options.name));
  compile::note_record_types(spec);
  const auto header = SKEP_TRY_AT(file, gen::skeleton(object, spec, options));
  SKEP_TRY(write_output(output, header));
  return 0;
}

}  // namespace

int gen_verb(const Arguments& arguments) {
  Words words(arguments);
  if (words.help || words.done()) {
    fmt::print(words.help ? stdout : stderr, "{}", usage);
    return words.help ? 0 : 2;
  }
  const auto verb = words.next();
  const auto status = verb == "skeleton"
                          ? skeleton(words)
                          : Result<int>(fail(Code::invalid_argument, fmt::format("gen {}: expected skeleton", verb)));
  return status ? *status : complain(status.error());
}

}  // namespace skep::tools
