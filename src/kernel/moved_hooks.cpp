// Choosing a row. See moved_hooks.hpp.
#include "kernel/moved_hooks.hpp"

#include <algorithm>

#include "kernel/carry_values.hpp"
#include "kernel/hook_substitutes.hpp"
#include "spec/register_use.hpp"

namespace skep::kernel {

namespace {

constexpr MovedTracepoint tracepoints[] = {
#define SKEP_MOVED_TRACEPOINT(name, arguments, count, note) {#name, arguments, count, note},
#include "kernel/moved_hooks.def"
};

constexpr MovedFunction functions[] = {
#define SKEP_MOVED_FUNCTION(function, other, parameters, when, exactness, note) \
  {#function, #other, parameters, MovedFunction::When::when, Exactness::exactness, note},
#include "kernel/moved_hooks.def"
};

constexpr InlinedFunction inlined[] = {
#define SKEP_INLINED_FUNCTION(function, caller, parameters, exactness, note) \
  {#function, #caller, parameters, Exactness::exactness, note},
#include "kernel/moved_hooks.def"
};

/// Whether the words of the context that the program reads are among those that the carrier fills.
bool fills(std::span<const s8> arguments, const spec::RegisterUse& use) {
  if (use.everything) return std::ranges::count(arguments, argument_unknown) == 0;
  for (u32 word = 0; word < 32; ++word) {
    const bool known = word < arguments.size() && arguments[word] != argument_unknown;
    if ((use.words >> word & 1) != 0 && !known) return false;
  }
  return true;
}

/// Only what the program reads is filled: a function without a result has no word for it, and the kernel refuses a
/// look.
void leave_unread_words(std::vector<s8>& arguments, const spec::RegisterUse& use) {
  for (u32 word = 0; word < arguments.size(); ++word)
    if (!use.everything && (use.words >> word & 1) == 0) arguments[word] = argument_unknown;
}

std::string_view reason_of(MovedFunction::When when) {
  switch (when) {
    case MovedFunction::When::missing:
      return "this kernel has no such function: it is inlined, renamed or gone";
    case MovedFunction::When::outgrown:
      return "it is hardly called any more";
  }
  return {};
}

/// The row of a function that another one of this kernel stands for.
const MovedFunction* row_of(std::string_view function, KernelTypes& kernel) {
  const auto exists = [&](std::string_view name) { return kernel.any_function(name).has_value(); };
  for (const MovedFunction& row : functions) {
    if (row.function != function || !exists(row.other)) continue;
    if (row.when == MovedFunction::When::outgrown || !exists(function)) return &row;
  }
  return nullptr;
}

/// Whether the program finds what it reads; then the carrier fills that. At the end of a function the result stands
/// behind its parameters.
bool suits(Carrier& carrier, const ProgramSpec& program, KernelTypes& kernel) {
  const spec::RegisterUse use = spec::register_use(program.insns);
  if (carrier.hook == CarrierHook::kprobe) {  // the other registers are there, too
    for (std::size_t i = 0; i < std::min(carrier.arguments.size(), std::size(argument_registers)); ++i)
      if (carrier.arguments[i] == argument_unknown && use.reads(static_cast<u32>(argument_registers[i]))) return false;
    return true;
  }
  if (carrier.hook == CarrierHook::moved_fexit) {
    const auto parameters = kernel.argument_count(carrier.tracepoint);
    if (!parameters) return false;
    carrier.arguments.push_back(static_cast<s8>(*parameters));
  }
  if (!fills(carrier.arguments, use)) return false;
  leave_unread_words(carrier.arguments, use);
  return true;
}

}  // namespace

std::string_view name_of(Exactness exactness) noexcept {
  return exactness == Exactness::exact ? "exact" : "approximate";
}

std::span<const MovedTracepoint> moved_tracepoints() noexcept { return tracepoints; }
std::span<const MovedFunction> moved_functions() noexcept { return functions; }
std::span<const InlinedFunction> inlined_functions() noexcept { return inlined; }

std::optional<Carrier> moved_tracepoint_carrier(const ProgramSpec& program, const std::string& tracepoint,
                                                KernelTypes& kernel) {
  const auto* const row = std::ranges::find(tracepoints, tracepoint, &MovedTracepoint::name);
  if (row == std::end(tracepoints)) return std::nullopt;
  const auto count = kernel.tracepoint_argument_count(tracepoint);
  if (!count || *count != row->count) return std::nullopt;
  Carrier carrier;
  carrier.hook = CarrierHook::moved_tracepoint;
  carrier.function = carrier.tracepoint = tracepoint;
  carrier.arguments = *parse_arguments(row->arguments);  // a test parses every row
  carrier.is_exact = true;
  carrier.note = row->note;
  const spec::RegisterUse use = spec::register_use(program.insns);
  const bool means_old = !use.everything && (use.words >> row->count) != 0;
  if (!means_old || !fills(carrier.arguments, use)) return std::nullopt;
  leave_unread_words(carrier.arguments, use);
  return carrier;
}

std::optional<Carrier> moved_function_carrier(const ProgramSpec& program, const std::string& function, CarrierHook hook,
                                              KernelTypes& kernel) {
  const MovedFunction* const row = row_of(function, kernel);
  if (row == nullptr) return std::nullopt;
  Carrier carrier;
  carrier.hook = hook;
  carrier.function = function;
  carrier.tracepoint = row->other;
  carrier.arguments = *parse_arguments(row->parameters);
  carrier.is_exact = row->exactness == Exactness::exact;
  carrier.note = row->note;
  carrier.reason = reason_of(row->when);
  if (!suits(carrier, program, kernel)) return std::nullopt;
  return carrier;
}

std::optional<Carrier> caller_carrier(const ProgramSpec& program, const InlinedFunction& row, const std::string& caller,
                                      CarrierHook hook, KernelTypes& kernel) {
  Carrier carrier;
  carrier.hook = hook;
  carrier.function = row.function;
  carrier.tracepoint = caller;
  carrier.arguments = *parse_arguments(row.parameters);
  if (caller != row.caller)
    std::ranges::fill(carrier.arguments, argument_unknown);  // a clone has parameters of its own
  if (!suits(carrier, program, kernel)) return std::nullopt;
  return carrier;
}

}  // namespace skep::kernel
