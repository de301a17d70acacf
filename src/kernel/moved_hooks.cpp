// Choosing a row. See moved_hooks.hpp.
#include "kernel/moved_hooks.hpp"

#include <algorithm>

#include "kernel/hook_substitutes.hpp"
#include "kernel/machine_code.hpp"
#include "spec/register_use.hpp"

namespace skep::kernel {

namespace {

constexpr MovedTracepoint tracepoints[] = {
#define SKEP_MOVED_TRACEPOINT(name, arguments, count, note) {#name, arguments, count, note},
#define SKEP_MOVED_FUNCTION(function, other, parameters, when, exactness, note)
#define SKEP_INLINED_FUNCTION(function, other, through, parameters, exactness, note)
#include "kernel/moved_hooks.def"
#undef SKEP_MOVED_TRACEPOINT
#undef SKEP_MOVED_FUNCTION
#undef SKEP_INLINED_FUNCTION
};

constexpr MovedFunction functions[] = {
#define SKEP_MOVED_TRACEPOINT(name, arguments, count, note)
#define SKEP_MOVED_FUNCTION(function, other, parameters, when, exactness, note) \
  {#function, #other, parameters, MovedFunction::When::when, MovedFunction::Exactness::exactness, note},
#define SKEP_INLINED_FUNCTION(function, other, through, parameters, exactness, note) \
  {#function, #other, parameters, MovedFunction::When::inlined, MovedFunction::Exactness::exactness, note, #through},
#include "kernel/moved_hooks.def"
#undef SKEP_MOVED_TRACEPOINT
#undef SKEP_MOVED_FUNCTION
#undef SKEP_INLINED_FUNCTION
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

bool applies(const MovedFunction& row, bool is_there) {
  switch (row.when) {
    case MovedFunction::When::missing:
      return !is_there;
    case MovedFunction::When::outgrown:
      return true;
    case MovedFunction::When::inlined: {
      const std::string_view called[] = {row.function, row.through};
      return is_there && calls_one_of(row.other, called) == false;
    }
  }
  return false;
}

std::string_view reason_of(MovedFunction::When when) {
  switch (when) {
    case MovedFunction::When::missing:
      return "this kernel has no such function: it is inlined, renamed or gone";
    case MovedFunction::When::outgrown:
      return "it is hardly called any more";
    case MovedFunction::When::inlined:
      return "this kernel's compiler has put it into its caller";
  }
  return {};
}

/// The row of a function that another one of this kernel stands for.
const MovedFunction* row_of(std::string_view function, KernelTypes& kernel) {
  const auto exists = [&](std::string_view name) { return kernel.any_function(name).has_value(); };
  for (const MovedFunction& row : functions) {
    if (row.function != function || !exists(row.other)) continue;
    if (applies(row, exists(function))) return &row;
  }
  return nullptr;
}

}  // namespace

std::span<const MovedTracepoint> moved_tracepoints() noexcept { return tracepoints; }
std::span<const MovedFunction> moved_functions() noexcept { return functions; }

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
  const bool is_probe = hook == CarrierHook::kprobe;
  const MovedFunction* const row = row_of(function, kernel);
  if (row == nullptr) return std::nullopt;
  Carrier carrier;
  carrier.hook = hook;
  carrier.function = function;
  carrier.tracepoint = row->other;
  carrier.arguments = *parse_arguments(row->parameters);
  carrier.is_exact = row->exactness == MovedFunction::Exactness::exact;
  carrier.note = row->note;
  carrier.reason = reason_of(row->when);
  if (hook == CarrierHook::moved_fexit) {
    const auto parameters = kernel.argument_count(row->other);
    if (!parameters) return std::nullopt;
    carrier.arguments.push_back(static_cast<s8>(*parameters));  // the result stands behind the parameters
  }
  // Of a probe's registers the others are there too, so only where all parameters are known nothing can be amiss.
  if (is_probe) {
    if (std::ranges::count(carrier.arguments, argument_unknown) != 0) return std::nullopt;
    return carrier;
  }
  const spec::RegisterUse use = spec::register_use(program.insns);
  if (!fills(carrier.arguments, use)) return std::nullopt;
  leave_unread_words(carrier.arguments, use);
  return carrier;
}

}  // namespace skep::kernel
