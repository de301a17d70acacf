// The two programs, their maps and events. See profiler.hpp.
#include "kernel/profiler.hpp"

#include <fmt/core.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <skep/spec.hpp>

#include "base/cpus.hpp"
#include "kernel/assembler.hpp"
#include "kernel/info.hpp"
#include "kernel/open.hpp"
#include "kernel/perf_event.hpp"
#include "kernel/program_load.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

constexpr s32 helper_map_lookup = 1, helper_processor = 8, helper_read_value = 55;
constexpr s16 value_bytes = sizeof(Profiler::Value), key_slot = -8;

/// bpftool's name of a counter, and perf(1)'s.
constexpr std::pair<std::string_view, std::string_view> short_names[] = {
    {"cycles", "cpu-cycles"},
    {"l1d_loads", "L1-dcache-loads"},
    {"llc_misses", "LLC-load-misses"},
    {"itlb_misses", "iTLB-load-misses"},
    {"dtlb_misses", "dTLB-load-misses"},
};

Result<PerfCounter> counter_named(std::string_view name) {
  for (const auto& [ours, full] : short_names)
    if (ours == name) return perf_counter(full);
  return perf_counter(name);
}

/// What the programs are written for.
struct Maps {
  int counters, starts, sums, runs;
  s32 count;  ///< of counters
  s32 cpus;   ///< places of one counter in `counters`
};

/// r0 = the place of `key` in a map; leaves where there is none.
void look_up(assembler::Program& code, int map, s32 key) {
  code.store64_number(isa::frame_pointer, key_slot, key);
  code.copy(2, isa::frame_pointer);
  code.add_number(2, key_slot);
  code.set_map(1, map);
  code.call_helper(helper_map_lookup);
  code.leave_if_equal(0, 0);
}

/// Reads a counter of this CPU (r6) into the 24 bytes at r3.
void read_counter(assembler::Program& code, const Maps& maps, s32 number) {
  code.set_map(1, maps.counters);
  code.copy(2, 6);
  code.add_number(2, number * maps.cpus);
  code.set(4, value_bytes);
  code.call_helper(helper_read_value);
}

std::vector<Insn> finished(assembler::Program& code) {
  code.place_end();
  code.set(0, 0);
  code.exit();
  return code.take();
}

std::vector<Insn> entry_code(const Maps& maps) {
  assembler::Program code;
  code.call_helper(helper_processor);
  code.copy(6, 0);
  for (s32 i = 0; i < maps.count; ++i) {
    look_up(code, maps.starts, i);
    code.copy(3, 0);
    read_counter(code, maps, i);
  }
  return finished(code);
}

std::vector<Insn> exit_code(const Maps& maps) {
  assembler::Program code;
  code.call_helper(helper_processor);
  code.copy(6, 0);
  const auto slot = [](s32 i) { return static_cast<s16>(key_slot - value_bytes * (i + 1)); };
  for (s32 i = 0; i < maps.count; ++i) {  // first of all: what follows is not the program's
    code.copy(3, isa::frame_pointer);
    code.add_number(3, slot(i));
    read_counter(code, maps, i);
    code.leave_unless_equal(0, 0);
  }
  for (s32 i = 0; i < maps.count; ++i) {
    look_up(code, maps.starts, i);
    code.copy(7, 0);
    code.load64(1, 7, 8);
    code.leave_if_equal(1, 0);  // this run began before the other program was there
    look_up(code, maps.sums, i);
    for (s16 field = 0; field < value_bytes; field += 8) {
      code.load64(1, isa::frame_pointer, static_cast<s16>(slot(i) + field));
      code.load64(2, 7, field);
      code.subtract_register(1, 2);
      code.load64(2, 0, field);
      code.add_register(2, 1);
      code.store64(0, field, 2);
    }
  }
  look_up(code, maps.runs, 0);
  code.load64(1, 0, 0);
  code.add_number(1, 1);
  code.store64(0, 0, 1);
  return finished(code);
}

Result<base::Fd> make_map(MapType type, u32 value_size, u32 entries, std::string_view name) {
  uapi::MapCreate map;
  map.map_type = static_cast<u32>(type);
  map.key_size = sizeof(u32);
  map.value_size = value_size;
  map.max_entries = entries;
  set_object_name(map.map_name, name);
  return bpf_fd(uapi::Cmd::map_create, map, fmt::format("create map {}", name));
}

/// The main function of a program in its types: what fentry and fexit are bound to.
Result<u32> main_function(int program, u32 id) {
  uapi::FuncInfo first;
  uapi::ProgInfo info;
  info.nr_func_info = 1;
  info.func_info_rec_size = sizeof first;
  info.func_info = address_of(&first);
  uapi::InfoByFd attr{static_cast<u32>(program), sizeof info, address_of(&info)};
  SKEP_TRY(bpf_ok(uapi::Cmd::obj_get_info_by_fd, attr, fmt::format("program {}", id)));
  if (info.btf_id != 0 && info.nr_func_info != 0 && first.type_id != 0) return first.type_id;
  return fail(
      Code::unsupported,
      fmt::format("program {} was loaded without types (clang -g), by which its entry and return are found", id));
}

Result<base::Fd> attach(std::string_view name, AttachKind kind, std::vector<Insn> insns, int target, u32 function) {
  ProgramSpec program;
  program.name = name;
  program.type = ProgramType::tracing;
  program.attach.kind = kind;
  program.insns = std::move(insns);
  LoadRequest request;
  request.program = &program;
  request.license = "GPL";
  request.attach_owner = target;
  request.attach_btf_id = function;
  LoadOutcome outcome = load_program(request);
  const auto loaded = SKEP_TRY(std::move(outcome.program));
  uapi::RawTracepointOpen attr;
  attr.prog_fd = static_cast<u32>(loaded.get());
  return bpf_fd(uapi::Cmd::raw_tracepoint_open, attr, fmt::format("attach {}", name));
}

/// Sums a per-CPU element of 64-bit numbers.
Result<std::vector<u64>> sum_element(int map, u32 key, std::size_t words) {
  std::vector<u64> all(words * base::possible_cpus());
  uapi::MapElem attr{static_cast<u32>(map), 0, address_of(&key), address_of(all.data()), 0};
  SKEP_TRY(bpf_ok(uapi::Cmd::map_lookup_elem, attr, "read the sums"));
  std::vector<u64> sums(words);
  for (std::size_t i = 0; i < all.size(); ++i) sums[i % words] += all[i];
  return sums;
}

}  // namespace

Result<void> check_profile_counter(std::string_view name) {
  SKEP_TRY(counter_named(name));
  return {};
}

Result<Profiler> Profiler::start(u32 program_id, std::span<const std::string> names) {
  if (names.size() > most_counters)
    return fail(Code::limit, fmt::format("{} counters; at most {} can be read at once", names.size(), most_counters));
  const auto target = SKEP_TRY(open_by_id(uapi::Cmd::prog_get_fd_by_id, program_id, "program"));
  const u32 function = SKEP_TRY(main_function(target.get(), program_id));
  const auto count = static_cast<u32>(names.size()), cpus = base::possible_cpus();
  Profiler profiler;
  profiler.count_ = count;
  profiler.counters_ = SKEP_TRY(make_map(MapType::perf_event_array, sizeof(u32), count * cpus, "skep_counters"));
  profiler.starts_ = SKEP_TRY(make_map(MapType::percpu_array, value_bytes, count, "skep_starts"));
  profiler.sums_ = SKEP_TRY(make_map(MapType::percpu_array, value_bytes, count, "skep_sums"));
  profiler.runs_ = SKEP_TRY(make_map(MapType::percpu_array, sizeof(u64), 1, "skep_runs"));
  for (u32 i = 0; i < count; ++i) {
    const PerfCounter counter = SKEP_TRY(counter_named(names[i]));
    for (const u32 cpu : base::online_cpus()) {
      perf_event_attr attr{};
      attr.size = sizeof attr;
      attr.type = counter.type;
      attr.config = counter.config;
      attr.exclude_user = counter.is_hardware() ? 1 : 0;  // programs run in the kernel; software counters do not tell
      auto event = open_perf_event(attr, -1, static_cast<int>(cpu));
      if (!event && event.error().os_error == ENODEV) continue;  // the CPU has gone off line
      if (!event && event.error().code != Code::permission)
        return fail(Code::unsupported, why_no_counter(counter), event.error().os_error);
      profiler.events_.push_back(SKEP_TRY(std::move(event)));
      const int fd = profiler.events_.back().get();
      const u32 place = i * cpus + cpu, value = static_cast<u32>(fd);
      uapi::MapElem element{static_cast<u32>(profiler.counters_.get()), 0, address_of(&place), address_of(&value), 0};
      SKEP_TRY(bpf_ok(uapi::Cmd::map_update_elem, element, fmt::format("counter {}", names[i])));
      if (::ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) != 0) return tl::unexpected(base::os_error("enable a counter"));
    }
  }
  const Maps maps{profiler.counters_.get(), profiler.starts_.get(),  profiler.sums_.get(),
                  profiler.runs_.get(),     static_cast<s32>(count), static_cast<s32>(cpus)};
  profiler.at_entry_ = SKEP_TRY(attach("skep_at_entry", AttachKind::fentry, entry_code(maps), target.get(), function));
  profiler.at_exit_ = SKEP_TRY(attach("skep_at_exit", AttachKind::fexit, exit_code(maps), target.get(), function));
  return profiler;
}

Result<Profiler::Reading> Profiler::read() const {
  Reading reading;
  reading.runs = SKEP_TRY(sum_element(runs_.get(), 0, 1)).front();
  for (u32 i = 0; i < count_; ++i) {
    const auto sums = SKEP_TRY(sum_element(sums_.get(), i, 3));
    reading.values.push_back({sums[0], sums[1], sums[2]});
  }
  return reading;
}

}  // namespace skep::kernel
