// skep gen: files made from object files.
#include <fmt/format.h>

#include "arguments.hpp"
#include "base/mapped_file.hpp"
#include "compile/compile.hpp"
#include "compile/record_types.hpp"
#include "gen/link.hpp"
#include "gen/min_core.hpp"
#include "gen/skeleton.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep gen skeleton FILE [name NAME] [-o OUT]    a C++ header with the object, its maps, globals and\n"
    "                                                      programs as one class (FILE: an object, or C source)\n"
    "       skep gen subskeleton FILE [name NAME] [-o OUT] the same for a part of a larger object: found in it by "
    "names\n"
    "       skep gen object OUT IN...                      several objects become one\n"
    "       skep gen min_core_btf FULL OUT OBJECT...       of a kernel's types (raw BTF), those that the objects'\n"
    "                                                      CO-RE relocations ask for\n\n"
    "examples:\n  skep gen skeleton count_execs.bpf.o name count_execs -o count_execs.skel.hpp\n"
    "  then, in C++:  auto counter = SKEP_TRY(count_execs::open());  SKEP_TRY(counter.load(*engine));\n"
    "  skep gen object all.bpf.o first.bpf.o second.bpf.o && skep verify all.bpf.o\n"
    "  skep gen min_core_btf /sys/kernel/btf/vmlinux small.btf all.bpf.o\n";

Result<void> write_output(const std::string& output, std::string_view text) {
  if (output.empty() || output == "-") {
    fmt::print("{}", text);
    return {};
  }
  return base::write_file_atomic(output, std::as_bytes(std::span(text)));
}

bool is_c_source(std::string_view file) { return file.ends_with(".c") || file.ends_with(".h"); }

Result<int> skeleton(Words& words, bool part) {
  const std::string file = words.next();
  if (file.empty())
    return fail(Code::invalid_argument,
                fmt::format("gen {}: expected an object file", part ? "subskeleton" : "skeleton"));
  gen::SkeletonOptions options{
      .name = gen::class_name(file), .source = file.substr(file.find_last_of('/') + 1), .part = part};
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

Result<int> link(Words& words) {
  const std::string output = words.next();
  if (output.empty() || words.done())
    return fail(Code::invalid_argument, "gen object: expected the file to write and at least one object");
  std::vector<std::vector<std::byte>> files;
  std::vector<gen::LinkInput> inputs;
  while (!words.done()) {
    inputs.push_back({words.next(), {}});
    files.push_back(SKEP_TRY(base::read_file(inputs.back().name)));
  }
  for (std::size_t i = 0; i < inputs.size(); i++) inputs[i].bytes = files[i];
  const auto linked = SKEP_TRY(gen::link_objects(inputs));
  SKEP_TRY(base::write_file_atomic(output, linked));
  return 0;
}

Result<int> min_core_btf(Words& words) {
  const std::string input = words.next(), output = words.next();
  if (output.empty() || words.done())
    return fail(Code::invalid_argument,
                "gen min_core_btf: expected the kernel's types, the file to write, and at least one object");
  const auto full = SKEP_TRY(btf::Btf::from_file(input));
  std::vector<ObjectSpec> objects;
  while (!words.done()) {
    const auto file = words.next();
    objects.push_back(SKEP_TRY(compile::load_program(file)));
    if (!objects.back().btf) return fail(Code::not_found, file + ": no types: compile with -g");
  }
  const auto small = SKEP_TRY(gen::min_core_btf(*full, objects));
  for (const auto& text : small.notes) note(text);
  SKEP_TRY(base::write_file_atomic(output, small.bytes));
  note(fmt::format("{} types, {} bytes, for {} relocations", small.types, small.bytes.size(), small.relocations));
  return 0;
}

Result<int> generate(std::string_view verb, Words& words) {
  if (verb == "skeleton" || verb == "subskeleton") return skeleton(words, verb == "subskeleton");
  if (verb == "object") return link(words);
  if (verb == "min_core_btf") return min_core_btf(words);
  return fail(Code::invalid_argument,
              fmt::format("gen {}: expected skeleton, subskeleton, object or min_core_btf", verb));
}

}  // namespace

int gen_verb(const Arguments& arguments) {
  Words words(arguments);
  if (words.help || words.done()) {
    fmt::print(words.help ? stdout : stderr, "{}", usage);
    return words.help ? 0 : 2;
  }
  const auto verb = words.next();
  const auto status = generate(verb, words);
  return status ? *status : complain(status.error(), words.form());
}

}  // namespace skep::tools
