// skep compile: C to an object file; and text to instructions and back.
#include <fmt/format.h>

#include <cstring>

#include "base/mapped_file.hpp"
#include "base/printable.hpp"
#include "compile/compile.hpp"
#include "isa/text.hpp"
#include "spec/listing.hpp"
#include "verb.hpp"

namespace skep::tools {
namespace {

Result<int> assemble_to(const std::string& file, const std::string& output) {
  const auto text = SKEP_TRY(base::read_text(file));
  const auto insns = SKEP_TRY_AT(file, isa::assemble(text));
  SKEP_TRY(base::write_file_atomic(output, std::as_bytes(std::span(insns))));
  return 0;
}

Result<int> disassemble(const std::string& file, bool raw) {
  if (raw) {
    const auto bytes = SKEP_TRY(base::read_file(file));
    if (bytes.size() % sizeof(Insn) != 0)
      return fail(Code::malformed, fmt::format("{}: {} bytes; bare instructions are 8 bytes each", file, bytes.size()));
    std::vector<Insn> insns(bytes.size() / sizeof(Insn));
    std::memcpy(insns.data(), bytes.data(), bytes.size());
    fmt::print("{}", spec::listing(insns));
    return 0;
  }
  const auto spec = SKEP_TRY(compile::load_program(file));
  for (const auto& program : spec.programs)
    fmt::print("{}", base::printable_text(fmt::format("{}; {} ({})\n{}", &program == &spec.programs.front() ? "" : "\n",
                                                      program.name, program.section, spec::listing(spec, program))));
  return 0;
}

int finish(const Result<int>& status) { return status ? *status : complain(status.error()); }

}  // namespace

int compile_verb(const Arguments& arguments) {
  std::string file, output;
  compile::CompileOptions options;
  Options app(
      "Compiles C for eBPF (BCC dialect or libbpf style) with the newest clang installed; results are cached by "
      "content.",
      "compile");
  app.add_option("FILE", file, "C source")->required();
  app.add_option("-o,--output", output, "the object to write")->required();
  app.add_option("--cflag", options.cflags, "one more argument for clang (repeatable)");
  app.footer("example:\n  skep compile hello.bpf.c -o hello.bpf.o");
  if (auto status = app.parse(arguments)) return *status;
  const auto compiled = compile::compile_to(file, output, options);
  if (!compiled) return complain(compiled.error());
  note(compiled->warnings);
  return 0;
}

int asm_verb(const Arguments& arguments) {
  std::string file, output;
  Options app("Assembles text in the kernel's syntax into bare 8-byte instructions.", "asm");
  app.add_option("FILE", file, "assembly text")->required();
  app.add_option("-o,--output", output, "where the instructions go")->required();
  app.footer("example:\n  echo 'r0 = 0\nexit' > zero.s && skep asm zero.s -o zero.bin && skep disasm --raw zero.bin");
  if (auto status = app.parse(arguments)) return *status;
  return finish(assemble_to(file, output));
}

int disasm_verb(const Arguments& arguments) {
  std::string file;
  bool raw = false;
  Options app("Prints the instructions of every program of an object or a C source, before relocation.", "disasm");
  app.add_option("FILE", file, "ELF object or C source")->required();
  app.add_flag("--raw", raw, "FILE holds bare 8-byte instructions");
  app.footer("example:\n  skep disasm hello.bpf.o");
  if (auto status = app.parse(arguments)) return *status;
  return finish(disassemble(file, raw));
}

}  // namespace skep::tools
