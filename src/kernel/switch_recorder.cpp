// The program at sched_switch. See switch_recorder.hpp.
#include "kernel/switch_recorder.hpp"

#include "kernel/assembler.hpp"
#include "kernel/program_load.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

constexpr s32 helper_map_lookup = 1;
constexpr s16 previous_argument = 8, next_argument = 16;  // of {preempt, prev, next, prev_state}

/// previous[cpu] = {prev, next}
std::vector<Insn> recorder_code(int map) {
  assembler::Program code;
  code.load64(6, 1, previous_argument);
  code.load64(7, 1, next_argument);
  code.store64_number(isa::frame_pointer, -8, 0);
  code.copy(2, isa::frame_pointer);
  code.add_number(2, -8);
  code.set_map(1, map);
  code.call_helper(helper_map_lookup);
  code.leave_if_equal(0, 0);
  code.store64(0, 0, 6);
  code.store64(0, 8, 7);
  code.place_end();
  code.set(0, 0);
  code.exit();
  return code.take();
}

}  // namespace

Result<SwitchRecorder> SwitchRecorder::start(const Token* token) {
  SwitchRecorder recorder;
  uapi::MapCreate map;
  map.map_type = static_cast<u32>(MapType::percpu_array);
  map.key_size = sizeof(u32);
  map.value_size = 2 * sizeof(u64);
  map.max_entries = 1;
  set_object_name(map.map_name, "skep_previous");
  show_token(token, map.map_flags, map.map_token_fd);
  recorder.map_ = SKEP_TRY(bpf_fd(uapi::Cmd::map_create, map, "create map of previous tasks"));
  ProgramSpec program;
  program.name = "skep_switches";
  program.type = ProgramType::raw_tracepoint;
  program.insns = recorder_code(recorder.map_.get());
  LoadRequest request;
  request.program = &program;
  request.license = "GPL";
  request.token = token;
  LoadOutcome outcome = load_program(request);
  const base::Fd loaded = SKEP_TRY_AT("program that notes switches", std::move(outcome.program));
  uapi::RawTracepointOpen attach;
  attach.name = address_of("sched_switch");
  attach.prog_fd = static_cast<u32>(loaded.get());
  recorder.link_ = SKEP_TRY(bpf_fd(uapi::Cmd::raw_tracepoint_open, attach, "attach to sched_switch"));
  return recorder;
}

}  // namespace skep::kernel
