// See optimised.hpp: build, passes, back end, in that order.
#include "vm/jit/optimised.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "vm/jit/backend/backend.hpp"
#include "vm/jit/build.hpp"
#include "vm/jit/entry.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::jit {
namespace {

// What machine code calls; see build.hpp.

u64 find_tail(void*, u64 map, u64 index, u64 lookup, u64, u64) noexcept {
  using Lookup = const Function* (*)(u64 map, u32 index) noexcept;
  return reinterpret_cast<u64>(reinterpret_cast<Lookup>(lookup)(map, static_cast<u32>(index)));
}

u64 resolve(void*, u64 bytecode, u64 value, u64, u64, u64) noexcept {
  const auto* code = reinterpret_cast<const Bytecode*>(bytecode);
  if (const auto* callback = code->callback_at(value)) return reinterpret_cast<u64>(callback->native);
  return reinterpret_cast<u64>(code->helper_at(value));
}

u64 settle(void* run, u64 bytecode, u64, u64, u64, u64) noexcept {
  return settle_throw(run, reinterpret_cast<const Bytecode*>(bytecode));
}

/// Of this size the worst shapes (large_test.cpp) take a quarter of a second, chains of jumps to one place more, and
/// 200 MB. Time and memory grow little faster than the program.
constexpr std::size_t most_insns = 65'536;

constexpr Runtime runtime{find_tail, resolve, settle};

}  // namespace

Result<Placed> compile_optimised(const Bytecode& code, const verify::VerifiedProgram*, CodeMemory& memory,
                                 u64 blinding_seed) {
  if (!backend::has_host)
    return fail(Code::unsupported, "the optimising tier has no emitter for this machine; use the interpreter tier");
  if (code.insns.size() > most_insns)
    return fail(Code::limit, fmt::format("{} instructions, and the optimising tier takes {} at most (it needs 3 KB of "
                                         "memory for each): use the baseline tier",
                                         code.insns.size(), most_insns));
  backend::Target target = backend::Target::host();
  target.blinding_seed = blinding_seed;
  auto built = build(code, runtime, {.blind = blinding_seed != 0});
  for (auto& function : built.module.functions) ir::optimise(function, {target.popcnt, target.lzcnt});
  const auto compiled = SKEP_TRY(backend::emit_host(built.module, target));
  Placed placed;
  placed.code = SKEP_TRY(memory.add(compiled.code));
  for (const auto& callback : code.callbacks) {
    const auto at = std::ranges::find(built.entries, callback.insn) - built.entries.begin();
    placed.callbacks.push_back(compiled.entries[static_cast<std::size_t>(at)]);
  }
  return placed;
}

}  // namespace skep::vm::jit
