// skep-conformance-plugin: runs one program for the bpf_conformance suite.
//
// Protocol of the suite: program bytes as hex on standard input, memory as hex in the first argument that is no
// flag (may be absent or empty), r0 as hex on standard output; an exit code other than 0 is an error.
// The program gets r1 = address of the memory, r2 = its length. Conformance vectors do things no verifier would
// accept, so they run in the checked interpreter or in code with checks, which are memory safe without a proof; the
// other tiers trust them.
// With --elf the program is an ELF object as a BPF compiler makes it, and its first program runs.
// Source: README of bpf_conformance, section "Using a BPF conformance test plugin".
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <iterator>
#include <skep/spec.hpp>

#include "vm/bytecode.hpp"
#include "vm/checked_program.hpp"

namespace {

using namespace skep;

constexpr const char* usage = R"(skep-conformance-plugin [FLAGS] [MEMORY_HEX] < PROGRAM_HEX
  --interp   the checked interpreter (default)
  --checked  machine code with checks
  --fast     the threaded interpreter
  --jit      the baseline JIT
  --opt      the optimising JIT
  --elf      the program is an ELF object
All but --interp and --checked trust the program: only for vectors you would run natively.
)";

enum class Engine { checked, checked_code, fast, baseline, optimised };

int error(std::string_view message) {
  std::cerr << message << "\n";
  return 1;
}

std::optional<std::vector<std::byte>> bytes_from_hex(std::string_view text) {
  std::vector<std::byte> out;
  int high = -1;
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    if (high < 0) {
      high = digit;
    } else {
      out.push_back(static_cast<std::byte>(high << 4 | digit));
      high = -1;
    }
  }
  if (high >= 0) return std::nullopt;
  return out;
}

/// The memory argument, and nothing else.
struct OneRegion final : vm::MemoryGuard {
  explicit OneRegion(std::span<std::byte> region) : begin(reinterpret_cast<u64>(region.data())), size(region.size()) {}
  bool allows(u64 address, u32 bytes, bool) noexcept override {
    const u64 offset = address - begin;
    return address >= begin && offset <= size && bytes <= size - offset;
  }
  u64 begin, size;
};

/// The one helper the suite calls (number 5, the clock in Linux); like every helper here it touches no memory.
u64 clock_helper(void*, u64, u64, u64, u64, u64) noexcept { return 1; }

constexpr vm::HelperFn helpers[] = {nullptr, nullptr, nullptr, nullptr, nullptr, clock_helper};

Result<u64> run_trusted(std::span<const Insn> program, std::span<std::byte> memory, vm::Tier tier) {
  vm::Bindings bindings;
  bindings.helpers = helpers;
  auto code = SKEP_TRY(vm::translate({.insns = program}, bindings));
  const auto function = SKEP_TRY(vm::trusted_function(std::move(code), {.tier = tier}));
  vm::Run state;
  return function->enter(state, reinterpret_cast<u64>(memory.data()), memory.size());
}

Result<u64> run_checked_code(std::span<const Insn> program, std::span<std::byte> memory) {
  vm::Bindings bindings;
  bindings.helpers = helpers;
  const auto compiled = SKEP_TRY(vm::CheckedProgram::compile(program, bindings));
  const vm::MemoryRegion region{reinterpret_cast<u64>(memory.data()), memory.size()};
  vm::CheckedInput input;
  input.r1 = region.begin;
  input.r2 = region.size_bytes;
  input.regions = {&region, 1};
  return compiled->run(input);
}

Result<u64> run(std::span<const Insn> program, std::span<std::byte> memory, Engine engine) {
  switch (engine) {
    case Engine::fast:
      return run_trusted(program, memory, vm::Tier::interpreter);
    case Engine::baseline:
      return run_trusted(program, memory, vm::Tier::baseline);
    case Engine::optimised:
      return run_trusted(program, memory, vm::Tier::optimised);
    case Engine::checked_code:
      return run_checked_code(program, memory);
    case Engine::checked:
      break;
  }
  OneRegion guard(memory);
  vm::RawRun raw;
  raw.r1 = reinterpret_cast<u64>(memory.data());
  raw.r2 = memory.size();
  raw.helpers = helpers;
  raw.guard = &guard;
  return vm::run_raw_checked(program, raw);
}

/// The instructions that the bytes are, or hold.
Result<std::vector<Insn>> instructions(std::vector<std::byte> bytes, bool elf) {
  if (elf) {
    const auto object = SKEP_TRY(ObjectSpec::from_bytes(bytes, "program"));
    if (object.programs.empty()) return fail(Code::malformed, "the ELF object holds no program");
    return object.programs.front().insns;
  }
  if (bytes.size() % sizeof(Insn) != 0)
    return fail(Code::malformed, fmt::format("the program has {} bytes, not a multiple of 8", bytes.size()));
  std::vector<Insn> program(bytes.size() / sizeof(Insn));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::byte*>(program.data()));
  return program;
}

}  // namespace

int main(int argc, char** argv) {
  Engine engine = Engine::checked;
  bool elf = false;
  std::string_view memory_text;
  for (const std::string_view argument : std::span(argv + 1, static_cast<std::size_t>(argc - 1))) {
    if (argument == "--help") return std::cout << usage, 0;
    if (argument == "--elf")
      elf = true;
    else if (argument == "--interp")
      engine = Engine::checked;
    else if (argument == "--checked")
      engine = Engine::checked_code;
    else if (argument == "--fast")
      engine = Engine::fast;
    else if (argument == "--jit")
      engine = Engine::baseline;
    else if (argument == "--opt")
      engine = Engine::optimised;
    else if (argument.starts_with("--"))
      return error(fmt::format("unknown flag {}\n{}", argument, usage));
    else
      memory_text = argument;
  }

  const std::string program_text((std::istreambuf_iterator<char>(std::cin)), {});
  auto bytes = bytes_from_hex(program_text);
  auto memory = bytes_from_hex(memory_text);
  if (!bytes || !memory) return error("the program (standard input) and the memory (argument) must be bytes in hex");
  const auto program = instructions(std::move(*bytes), elf);
  if (!program) return error(program.error().message);
  const auto result = run(*program, *memory, engine);
  if (!result) return error(result.error().message);
  std::cout << fmt::format("{:x}\n", *result);
  return 0;
}
