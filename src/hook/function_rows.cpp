// See function_rows.hpp.
#include "hook/function_rows.hpp"

#include <algorithm>
#include <iterator>

#include "catalog/helpers.hpp"
#include "catalog/syscalls.hpp"
#include "hook/syscall_event.hpp"
#include "isa/isa.hpp"
#include "spec/handler.hpp"
#include "spec/register_use.hpp"

namespace skep::hook {
namespace {

template <std::size_t most, class T, class... More>
constexpr FunctionRow::List<T, most> list(T first, More... more) {
  return {.items = {first, more...}, .count = 1 + sizeof...(more)};
}

constexpr auto make_rows() {
  using enum FunctionRow::When;
  using enum FunctionRow::Boundary;
  using enum FunctionRow::Exactness;
  using enum FunctionValue;
  using enum FunctionTest;
#define SKEP_FUNCTION(function, when, boundary, calls, parameters, tests, exactness, note) \
  FunctionRow{#function, when, boundary, calls, list<6> parameters, list<2> tests, exactness, note},
  return std::to_array<FunctionRow>({
#include "hook/function_rows.def"
  });
#undef SKEP_FUNCTION
}
constexpr auto rows = make_rows();

/// The type that a parameter has in the kernel: what a pointer points to, "" for others.
std::string_view type_of(FunctionValue value) noexcept {
  switch (value) {
    case FunctionValue::idmap:
      return "mnt_idmap";
    case FunctionValue::file:
    case FunctionValue::new_file:
      return "file";
    case FunctionValue::socket:
      return "socket";
    case FunctionValue::sock:
    case FunctionValue::new_sock:
      return "sock";
    case FunctionValue::new_path:
      return "path";
    case FunctionValue::dentry:
      return "dentry";
    case FunctionValue::directory:
      return "inode";
    case FunctionValue::address:
      return "sockaddr";
    case FunctionValue::unknown:
    case FunctionValue::zero:
    case FunctionValue::argument_1:
    case FunctionValue::argument_2:
    case FunctionValue::argument_3:
    case FunctionValue::state:
    case FunctionValue::result:
    case FunctionValue::connect_result:
      return "";
  }
  return "";
}

bool is_known(FunctionValue value) noexcept { return value != FunctionValue::unknown && value != FunctionValue::idmap; }

/// "read pread64" as "read, pread64".
std::string with_commas(std::string_view calls) {
  std::string text;
  for (const char c : calls) text += c == ' ' ? std::string(", ") : std::string(1, c);
  return text;
}

std::string place_of(const FunctionRow& row) {
  switch (row.boundary) {
    case FunctionRow::Boundary::enter:
      return "sys_enter(" + with_commas(row.calls) + ")";
    case FunctionRow::Boundary::leave:
      return "sys_exit(" + with_commas(row.calls) + ")";
    case FunctionRow::Boundary::end:
      return "the end of a process";
  }
  return {};
}

std::string known_parameters(const FunctionRow& row) {
  if (row.when == FunctionRow::When::at_return) return "result";
  std::string text;
  std::size_t known = 0;
  for (std::size_t i = 0; i < row.parameters.count; ++i) {
    if (!is_known(row.parameters.items[i])) continue;
    ++known;
    text += (text.empty() ? "" : ", ") + std::to_string(i + 1);
  }
  return known == row.parameters.count ? "all" : text.empty() ? "none" : text;
}

}  // namespace

std::vector<u32> FunctionRow::numbers() const {
  std::vector<u32> found;
  for (std::string_view rest = calls; !rest.empty();) {
    const auto space = rest.find(' ');
    if (const auto* row = catalog::syscall_by_name(rest.substr(0, space)); row != nullptr) found.push_back(row->number);
    rest.remove_prefix(space == std::string_view::npos ? rest.size() : space + 1);
  }
  return found;
}

std::span<const FunctionRow> function_rows() noexcept { return rows; }

std::string function_table() {
  std::string text = "| function | seen at | parameters | exactness | what is different |\n|---|---|---|---|---|\n";
  for (const FunctionRow& row : rows) {
    text += "| " + std::string(row.function) + (row.when == FunctionRow::When::at_return ? " (return)" : "") + " | " +
            place_of(row) + " | " + known_parameters(row) + " | " +
            (row.exactness == FunctionRow::Exactness::exact ? "exact" : "approximate") + " | " + std::string(row.note) +
            " |\n";
  }
  return text;
}

std::optional<FunctionPlan> plan_function(const AttachTarget& target) {
  if (target.kind != AttachKind::kprobe && target.kind != AttachKind::kretprobe) return std::nullopt;
  const std::string_view asked = target.target;
  if (asked.find('+') != std::string_view::npos) return std::nullopt;
  FunctionPlan plan;
  plan.at_return = target.kind == AttachKind::kretprobe;
  plan.context_bytes = sizeof(PtRegs);
  for (const FunctionRow& row : rows)
    if (row.function == asked.substr(0, asked.find('.')) &&
        (row.when == FunctionRow::When::at_return) == plan.at_return)
      plan.rows.push_back(&row);
  if (plan.rows.empty()) return std::nullopt;
  return plan;
}

namespace {

/// Where the function has the parameters that a handler declares; those of a handler that declares none are in order.
Result<void> place_parameters(FunctionPlan& plan, const AttachTarget& target, const btf::Btf* types,
                              const std::vector<FunctionInfo>& functions) {
  std::vector<std::string_view> known;
  for (const FunctionValue value : plan.rows.front()->parameters.span()) known.push_back(type_of(value));
  auto declared = spec::handler_parameters(types, functions);
  if (declared.empty()) {
    for (std::size_t i = 0; i < known.size(); ++i) plan.places.push_back(i);
    return {};
  }
  for (auto& parameter : declared)  // what it was until Linux 6.2
    if (parameter.structure == "user_namespace") parameter.structure = type_of(FunctionValue::idmap);
  auto places = spec::places_by_type(declared, known);
  if (!places)
    return fail(Code::unsupported,
                target.text() +
                    ": the parameters that the program declares are not those of the function as Linux 6.18 has it");
  plan.places = std::move(*places);
  return {};
}

}  // namespace

Result<void> fit(FunctionPlan& plan, const AttachTarget& target, const btf::Btf* types,
                 const std::vector<FunctionInfo>& functions, std::span<const Insn> insns) {
  constexpr std::size_t registers[] = {offsetof(PtRegs, di), offsetof(PtRegs, si), offsetof(PtRegs, dx),
                                       offsetof(PtRegs, cx), offsetof(PtRegs, r8), offsetof(PtRegs, r9)};
  spec::RegisterUse use = spec::register_use(insns);
  // Whoever is called in its place has the same context.
  use.everything = use.everything || std::ranges::any_of(insns, [](const Insn& insn) {
                     return insn.code == isa::code_call && insn.src == isa::call_src_helper &&
                            insn.imm == static_cast<s32>(catalog::HelperId::tail_call);
                   });
  const auto parameters =
      plan.rows.front()->parameters.span();  // a test sees that a function's rows have the same types
  plan.places.clear();
  plan.wanted = 0;
  if (plan.at_return) {
    plan.places = {0};
    plan.wanted = use.reads(offsetof(PtRegs, ax)) ? 1 : 0;
    return {};
  }
  SKEP_TRY(place_parameters(plan, target, types, functions));
  for (std::size_t i = 0; i < std::size(registers); ++i) {
    if (!use.reads(static_cast<u32>(registers[i]))) continue;
    if (i >= plan.places.size() && use.everything) break;
    if (i >= plan.places.size())
      return fail(Code::unsupported, target.text() + ": the program reads parameter " + std::to_string(i + 1) +
                                         ", where there are " + std::to_string(plan.places.size()));
    for (const FunctionRow* row : plan.rows)
      if (!is_known(row->parameters.items[plan.places[i]]))
        return fail(
            Code::unsupported,
            target.text() + ": the program " +
                (use.everything ? "may read any parameter (where it hands its context on cannot be followed), and "
                                : "reads ") +
                "parameter " + std::to_string(plan.places[i] + 1) +
                (use.everything ? " is not known at " : ", which is not known at ") + place_of(*row) +
                ", where the user engine sees the function; --backend kernel has it");
    plan.wanted |= 1u << i;
  }
  return {};
}

std::string describe(const FunctionPlan& plan, const AttachTarget& target) {
  std::string text = target.text() + " is seen at ";
  for (std::size_t i = 0; i < plan.rows.size(); ++i) {
    const FunctionRow& row = *plan.rows[i];
    text += (i == 0 ? "" : ", at ") + place_of(row) + " (" +
            (row.exactness == FunctionRow::Exactness::exact ? "exact" : "approximate") + ": " + std::string(row.note) +
            ")";
  }
  return text;
}

}  // namespace skep::hook
