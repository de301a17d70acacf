// The door of the room: runs the checker, makes the proof or the report.
#include "verify/verify.hpp"

#include <ctime>

#include "verify/checker.hpp"
#include "verify/explain.hpp"

namespace skep::verify {
namespace {

Rejection rejection_of(const Checker& checker, const ProgramSpec& program) {
  const Refusal& refusal = checker.refusal();
  const catalog::MessageRow& row = catalog::message(refusal.id);
  Rejection r;
  r.id = row.name;
  r.insn = refusal.insn;
  r.reason = refusal.reason;
  r.advice = row.advice;
  r.insn_text = instruction_text(program, refusal.insn);
  r.registers = checker.involved_registers();
  r.cause = checker.cause();
  if (const SourceLine* line = program.line_at(refusal.insn)) r.source = *line;
  return r;
}

/// Time this thread has computed: what others do on the machine does not count.
u64 thread_time_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

}  // namespace

Result<Outcome> verify(const ProgramSpec& program, const ObjectSpec& object, const Options& options) {
  constexpr std::size_t max_insns = 1'000'000;
  if (program.insns.size() > max_insns)
    return fail(Code::limit, fmt::format("program {}: {} instructions, at most {} are possible", program.name,
                                         program.insns.size(), max_insns));
  u64 start = thread_time_ns();
  Checker first(program, object, options);
  Outcome outcome;
  Report& report = outcome.report;
  report.accepted = first.run();
  report.insns_processed = first.insns_processed();
  report.states = first.states();
  report.state_bytes = first.state_bytes();
  if (options.log) report.log = first.take_log();
  if (const Checker* second = first.successor()) {
    report.accepted = report.joined = true;
    report.insns_processed += second->insns_processed();
    report.states += second->states();
    report.state_bytes += second->state_bytes();
  }
  Checker& checker = report.joined ? *first.successor() : first;
  report.stack_bytes = checker.stack_bytes();
  if (!report.accepted) {
    report.rejection = rejection_of(checker, program);
  } else {
    VerifiedProgram::Data data;
    data.name = program.name;
    data.type = program.type;
    data.insns = program.insns;
    data.references = program.references;
    data.functions = program.functions;
    data.helpers = checker.helpers_used();
    data.context_loads = checker.context_loads();
    data.proofs = checker.take_proofs();
    data.stack_touches = checker.stack_touches();
    data.arena_accesses = checker.arena_accesses();
    data.window_accesses = checker.window_accesses();
    data.object_reads = checker.object_reads();
    data.local_types = checker.local_types();
    data.arena_map = checker.arena_map();
    data.exception_callback = checker.exception_callback();
    data.stack_bytes = checker.stack_bytes();
    data.context_bytes = checker.context_bytes();
    data.reads_untouched_stack = checker.reads_untouched_stack();
    outcome.program = VerifiedProgram(std::make_shared<const VerifiedProgram::Data>(std::move(data)));
  }
  report.time_ns = thread_time_ns() - start;
  return outcome;
}

}  // namespace skep::verify
