// Random programs through every engine, for as long as one likes.
//
//     random_programs [--count N] [--first SEED] [--processes P] [--state FILE] [--only SEED] [--no-kernel] [--show]
//
// Every program is verified; accepted ones run on the checked interpreter, the interpreter, both JITs and, where this
// process may load programs, the kernel, and r0, maps, packet and context must be the same. A program that differs is
// made small and printed as a test case. Workers are processes: a crash names its seed and the others go on. With
// --state the run can be stopped and resumed. Exit code 1 when anything differed.
#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "catalog/helpers.hpp"
#include "edits.hpp"
#include "engines.hpp"
#include "fleet.hpp"
#include "isa/isa.hpp"
#include "shrink.hpp"
#include "tally.hpp"
#include "vm/jit/ir.hpp"

namespace skep::differential {
namespace {

struct Settings {
  u64 count = 3'000, first = 1;
  u32 processes = 1;
  std::string state;
  bool kernel = true, show = false, only = false;
};

constexpr u32 inputs_per_program = 3;

/// The engines of one worker, and how a program fares in them.
class Worker {
 public:
  Worker(Tally& tally, bool with_kernel) : tally_(tally) {
    if (!with_kernel) return;
    auto kernel = KernelEngine::open();
    if (kernel)
      kernel_ = std::move(*kernel);
    else
      fmt::print("the kernel is left out: {}\n", kernel.error().message);
  }
  bool has_kernel() const { return kernel_ != nullptr; }

  void program(u64 seed, bool show) {
    const RandomProgram program = generate(seed);
    if (show) {
      const auto report = user_.load(program);
      fmt::print("{}{}\n", program.text(""),
                 report ? verify::explain(*report, object_of(program).programs.front()) : report.error().message);
      if (const auto kernel = kernel_ ? kernel_->load(program) : Result<std::optional<std::string>>(std::nullopt))
        fmt::print("kernel: {}\n", kernel->value_or(kernel_ ? "accepted" : "not asked"));
    }
    const std::string what = failure_of(program, &tally_);
    tally_.programs++;
    if (what.empty()) return;
    tally_.failures++;
    report(program, what);
  }

 private:
  /// "" when all engines agree about it.
  std::string failure_of(const RandomProgram& program, Tally* tally) {
    const auto report = user_.load(program);
    if (!report) return "verifier: " + report.error().message;
    if (tally != nullptr && !report->accepted && report->rejection)
      Tally::count(tally->refused, report->rejection->id, program.seed);
    const auto refused = judge(program, *report, tally);
    if (!report->accepted) return "";
    if (tally != nullptr) note(program, *tally);
    const auto tiers = user_.link();
    // Changed programs may hold an instruction that no path reaches and this engine lacks.
    if (!tiers && program.mutated && tiers.error().code == Code::unsupported) return "";
    if (!tiers) return "link: " + tiers.error().message;
    if (tally != nullptr) note_ir(*tally);
    for (u32 input = 0; input < inputs_per_program; input++)
      if (auto what = run(program, *tiers, input, refused, tally); !what.empty())
        return fmt::format("input {}: {}", input, what);
    return "";
  }

  /// Both verdicts; true when the kernel has the program loaded.
  bool judge(const RandomProgram& program, const verify::Report& report, Tally* tally) {
    // Linux 6.18's own verifier dereferences a null pointer (__mark_chain_precision) on some programs whose callback
    // reads a slot of its own stack: no random callbacks for kernels that people use.
    const bool calls_back =
        std::ranges::any_of(program.insns, [](const Insn& insn) { return isa::decode(insn) == isa::Op::ld_function; });
    if (!kernel_ || calls_back) return false;
    const auto refusal = kernel_->load(program);
    if (!refusal) return false;
    const bool kernel = !refusal->has_value(), we = report.accepted;
    if (tally == nullptr) return kernel;
    tally->both_accept += we && kernel;
    tally->both_reject += !we && !kernel;
    tally->only_we += we && !kernel;
    tally->only_kernel += !we && kernel;
    if (we && !kernel) Tally::count(tally->we_only, **refusal, program.seed);
    if (!we && kernel) Tally::count(tally->kernel_only, report.rejection ? report.rejection->id : "", program.seed);
    return kernel;
  }

  std::string run(const RandomProgram& program, const std::vector<const char*>& tiers, u32 input, bool kernel,
                  Tally* tally) {
    const auto checked = user_.run_checked(input);
    if (tally != nullptr) tally->checked_runs++;
    if (!checked && checked.error().code == Code::limit) {
      if (tally != nullptr) tally->over_budget++;
      return "";
    }
    if (!checked) return "checked interpreter: " + checked.error().message;
    const auto expected = user_.run(tiers.front(), input, 16);
    if (!expected) return fmt::format("{}: {}", tiers.front(), expected.error().message);
    const bool shrinking = tally == nullptr;
    if ((program.mutated || shrinking) && shows_addresses(program, tiers.front(), input, *expected)) {
      if (!shrinking) tally->addresses++;
      return "";
    }
    const auto compare = [&](std::string_view name, const Result<Observed>& got, bool half) -> std::string {
      if (tally != nullptr) tally->runs++;
      if (!got) return fmt::format("{}: {}", name, got.error().message);
      const auto text = difference(program, *expected, *got, half);
      return text.empty() ? "" : fmt::format("{} and {}: {}", tiers.front(), name, text);
    };
    if (!program.mutated)
      if (auto what = compare("checked", checked, false); !what.empty()) return what;
    for (const char* tier : std::span(tiers).subspan(1))
      if (auto what = compare(tier, user_.run(tier, input, 16), false); !what.empty()) return what;
    // What was on the stack before is zeroes here and anything in the kernel.
    if (!kernel || program.mutated || user_.reads_untouched_stack()) return "";
    if (tally != nullptr) tally->kernel_runs++;
    auto what = compare("kernel", kernel_->run(input), true);
    if (what.empty() || !is_fetch_mistake(program, input, *expected)) return what;
    if (tally != nullptr) tally->kernel_mistakes++;
    return "";
  }

  /// Linux 6.18 takes two paths for one whose atomic operations fetch different values from the stack, and does not
  /// clear the upper half of what a 32-bit compare-exchange gives (tests/cases/atomics.case has both). Whether that is
  /// why it differs: spelt without such operations, the program does there what it does here.
  bool is_fetch_mistake(const RandomProgram& program, u32 input, const Observed& expected) {
    const auto spelt_out = without_fetches(program);
    if (!spelt_out) return false;
    const auto refusal = kernel_->load(*spelt_out);
    const bool is_loaded = refusal && !refusal->has_value();
    const auto got = is_loaded ? kernel_->run(input) : Result<Observed>(fail(Code::io, "refused"));
    const auto back = kernel_->load(program);
    return got && back && !back->has_value() && difference(program, expected, *got, true).empty();
  }

  /// Whether moving stack and heap changes what comes out.
  bool shows_addresses(const RandomProgram& program, const char* tier, u32 input, const Observed& expected) {
    for (const std::size_t deeper : {4096 + 64, 70'000, 16}) {
      const auto other = user_.run(tier, input, deeper);
      if (other && !difference(program, expected, *other, false).empty()) return true;
    }
    return false;
  }

  void note(const RandomProgram& program, Tally& tally) {
    tally.accepted++;
    tally.mutated_accepted += program.mutated;
    bool ops[256] = {}, helpers[256] = {}, back = false, spills = false;
    for (std::size_t i = 0; i < program.insns.size(); i++) {
      const Insn& insn = program.insns[i];
      if (const auto op = isa::decode(insn)) {
        ops[static_cast<u8>(*op)] = true;
        const auto form = isa::row(*op).form;
        if (isa::is_jump(form) && isa::jump_distance(form, insn) < 0) back = true;
        if (form == isa::Form::call_helper) helpers[static_cast<u8>(insn.imm)] = true;
        if (form == isa::Form::store_reg && insn.dst == 10 && insn.src == 7) spills = true;
        if (*op == isa::Op::ld_function) tally.callbacks++;
      }
      if (insn.code == 0x18) i++;
    }
    for (u32 i = 0; i < 256; i++) {
      tally.ops[i] += ops[i];
      tally.helpers[i] += helpers[i];
    }
    for (u32 i = 0; i < map_count; i++) tally.maps[i] += program.uses >> i & 1;
    tally.back_edges += back;
    tally.spilled_pointers += spills;
    tally.tail_calls += helpers[12];
    tally.functions += !program.functions.empty();
    tally.types[type_index(program.type)]++;
  }
  void note_ir(Tally& tally) {
    const u64 bits = user_.ir_operations();
    for (u32 i = 0; i < 64; i++) tally.ir_ops[i] += bits >> i & 1;
  }

 public:
  static u32 type_index(ProgramType type) {
    return static_cast<u32>(std::ranges::find(random_types, type) - std::begin(random_types));
  }

 private:
  void report(const RandomProgram& program, const std::string& what) {
    fmt::print("\nFAILURE seed {}: {}\n", program.seed, what);
    // Exactly the same difference: otherwise programs that store addresses would count as smaller ones.
    const auto small = shrink(program, [&](const RandomProgram& candidate) {
      const auto now = failure_of(candidate, nullptr);
      return now == what;
    });
    fmt::print("{}\n", small.text(fmt::format("; seed {}: {}\n", program.seed, failure_of(small, nullptr))));
    std::fflush(stdout);
  }

  Tally& tally_;
  UserEngines user_;
  std::unique_ptr<KernelEngine> kernel_;
};

void print_groups(const char* title, const Group (&groups)[most_groups]) {
  std::vector<const Group*> sorted;
  for (const Group& group : groups)
    if (group.count != 0) sorted.push_back(&group);
  std::ranges::sort(sorted, [](const Group* a, const Group* b) { return a->count > b->count; });
  if (!sorted.empty()) fmt::print("{}\n", title);
  for (const Group* group : sorted) fmt::print("{:8}  {}  (seed {})\n", group->count, group->text, group->seed);
}

void print_coverage(const Tally& t) {
  fmt::print("instructions reached:");
  std::string missing;
  u32 reached = 0;
  for (const isa::Row& row : isa::rows()) {
    const u64 n = t.ops[static_cast<u8>(row.op)];
    reached += n != 0;
    if (n == 0) missing += fmt::format(" {}", row.name);
  }
  fmt::print(" {} of {}; never:{}\n", reached, isa::rows().size(), missing);
  missing.clear();
  reached = 0;
  u32 ir_count = 0;
#define SKEP_IR(name, ...) \
  ir_count++;              \
  t.ir_ops[static_cast<u32>(vm::ir::Op::name)] != 0 ? void(reached++) : void(missing += " " #name);
#include "vm/jit/ir.def"
#undef SKEP_IR
  fmt::print("IR operations reached: {} of {}; never:{}\n", reached, ir_count, missing);
  fmt::print("programs with: functions {}, callbacks {}, loops {}, tail calls {}, spilled pointers {}\n", t.functions,
             t.callbacks, t.back_edges, t.tail_calls, t.spilled_pointers);
  fmt::print("by type: sched_cls {}, xdp {}, socket_filter {}, syscall {}, raw_tracepoint {}\nmaps:", t.types[0],
             t.types[1], t.types[2], t.types[3], t.types[4]);
  for (u32 i = 0; i < map_count; i++) fmt::print(" {} {}", map_specs()[i].name, t.maps[i]);
  fmt::print("\nhelpers:");
  for (u32 i = 0; i < 256; i++)
    if (t.helpers[i] != 0) fmt::print(" {} {}", catalog::helper(i)->name, t.helpers[i]);
  fmt::print("\n");
}

void print(const Tally& t) {
  fmt::print(
      "random programs: {} made, {} accepted ({} of them changed at random), {} runs compared ({} with the "
      "kernel, of which {} met its mistake about atomic fetches), {} beyond the budget, {} hold addresses, {} "
      "failures\n",
      t.programs, t.accepted, t.mutated_accepted, t.runs, t.kernel_runs, t.kernel_mistakes, t.over_budget, t.addresses,
      t.failures);
  print_groups("refused, by reason:", t.refused);
  if (t.both_accept + t.both_reject + t.only_we + t.only_kernel == 0)
    return fmt::print("the kernel was not asked: this process may not load programs, or --no-kernel\n");
  fmt::print("verdicts: both accept {}, both reject {}, only we accept {}, only the kernel accepts {}\n", t.both_accept,
             t.both_reject, t.only_we, t.only_kernel);
  print_groups("only we accept; the kernel's reason:", t.we_only);
  print_groups("only the kernel accepts; our reason:", t.kernel_only);
}

int run(const Settings& settings) {
  Fleet fleet{settings.count, settings.first, settings.processes, settings.state, sizeof(Tally), nullptr};
  bool with_kernel = settings.kernel;
  const auto work = [&](u32 index) {
    Worker worker(fleet.tally<Tally>(index), with_kernel);
    fleet.each_seed(index, [&](u64 seed) { worker.program(seed, settings.show); });
  };
  const auto died = [&](u32 index, u64 seed, int status) {
    fmt::print("{}\n", generate(seed).text(""));
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && with_kernel) {
      fmt::print(
          "it was killed, perhaps by a fault of the kernel itself (see dmesg): from here on without the kernel\n");
      with_kernel = false;
    }
    fleet.tally<Tally>(index).failures++;
  };
  if (!fleet.run(work, died)) return 2;
  Tally sum{};
  for (u32 i = 0; i < settings.processes; i++) add(sum, fleet.tally<Tally>(i));
  print(sum);
  print_coverage(sum);
  return sum.failures == 0 ? 0 : 1;
}

}  // namespace

void add(Tally& into, const Tally& from) {
  // Everything before the groups is u64s.
  auto* to = reinterpret_cast<u64*>(&into);
  const auto* source = reinterpret_cast<const u64*>(&from);
  for (std::size_t i = 0; i < offsetof(Tally, we_only) / sizeof(u64); i++) to[i] += source[i];
  for (const Group& g : from.we_only)
    if (g.count != 0) Tally::count(into.we_only, g.text, g.seed, g.count);
  for (const Group& g : from.refused)
    if (g.count != 0) Tally::count(into.refused, g.text, g.seed, g.count);
  for (const Group& g : from.kernel_only)
    if (g.count != 0) Tally::count(into.kernel_only, g.text, g.seed, g.count);
}

}  // namespace skep::differential

int main(int argc, char** argv) {
  using namespace skep::differential;
  Settings settings;
  for (int i = 1; i < argc; i++) {
    const std::string_view option = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    const auto number = [&] {
      i++;
      return std::strtoull(value, nullptr, 10);
    };
    if (option == "--count")
      settings.count = number();
    else if (option == "--first")
      settings.first = number();
    else if (option == "--processes")
      settings.processes = std::max<skep::u32>(1, static_cast<skep::u32>(number()));
    else if (option == "--only")
      settings.first = number(), settings.count = 1, settings.show = true;
    else if (option == "--state")
      settings.state = argv[++i];
    else if (option == "--no-kernel")
      settings.kernel = false;
    else if (option == "--show")
      settings.show = true;
    else
      return fmt::print(stderr, "unknown option {}; see the head of tests/differential/main.cpp\n", option), 2;
  }
  return run(settings);
}
