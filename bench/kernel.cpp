// The kernel engine beside libbpf: loading and attaching an object, reading a ring buffer.
//
//   bench_kernel [ROUNDS] [--json]
//
// Both sides load the same ELF bytes into the same kernel, taking turns; a round opens, loads, attaches a raw
// tracepoint and takes everything down again. Most of that is the kernel's own work, and equal. For the ring, a program
// writes records of 32 bytes in test runs without waking anybody, then the reader takes them all, and only the taking
// is timed: from memory (8 MB) and from the cache (40 KB), with next to no work and with some for each record; and a
// reader beside a writer on another CPU, where what counts is how seldom they take memory away from each other. libbpf
// is opened at run time (libbpf.so.1); without it, or without the right to load programs, nothing is measured and the
// reason is said.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <skep/backend.hpp>
#include <string_view>
#include <thread>
#include <vector>

#include "base/mapped_file.hpp"
#include "compile/compile.hpp"
#include "figures.hpp"
#include "kernel/syscall.hpp"
#include "libbpf.hpp"

namespace {

using namespace skep;
using bench::Libbpf;
using bench::median;
using bench::now_us;

/// The ring of the objects that are only loaded: a large one is mostly the kernel's zeroing of pages.
constexpr u32 small_ring_bytes = 1u << 16;

/// `all`: both programs of the object, one of which the kernel verifies for 7 ms; else what is attached alone.
Result<double> load_by_skep(std::span<const std::byte> elf, bool all) {
  const double begin = now_us();
  auto spec = SKEP_TRY(ObjectSpec::from_bytes(elf, "kernel_load"));
  for (MapSpec& map : spec.maps)
    if (map.name == "events") map.max_entries = small_ring_bytes;
  auto engine = SKEP_TRY(kernel_backend());
  LoadOptions options;
  if (!all) options.programs = {"on_exec"};
  auto object = SKEP_TRY(engine->load(spec, options));
  auto program = SKEP_TRY(object.program("on_exec"));
  auto link = SKEP_TRY(program.attach());
  return now_us() - begin;
}

Result<double> load_by_libbpf(const Libbpf& lib, std::span<const std::byte> elf, bool all) {
  const double begin = now_us();
  void* const object = lib.open_mem(elf.data(), elf.size(), nullptr);
  if (object == nullptr || lib.set_max_entries(lib.find_map(object, "events"), small_ring_bytes) != 0 ||
      lib.set_autoload(lib.find_program(object, "write_records"), all) != 0 || lib.load(object) != 0)
    return fail(Code::io, "libbpf does not load the object");
  void* const link = lib.attach(lib.find_program(object, "on_exec"));
  const double end = now_us();
  if (link == nullptr) return fail(Code::io, "libbpf does not attach the program");
  lib.destroy(link);
  lib.close(object);
  return end - begin;
}

/// ns a record, by both readers in turn.
struct RingTimes {
  std::vector<double> skep, libbpf;
};

constexpr u32 records_a_run = 1000;

/// How the ring is filled and emptied: `runs` of the writing program, then the reader takes all; this `turns` times a
/// round. The time is the reader's alone.
struct RingCase {
  const char* figure;
  const char* text;
  u32 ring_bytes, runs, turns;
};

/// A program by its descriptor, through bpf(2) alone: the same for both sides.
Result<void> run_program(int program, u32 times) {
  const std::byte packet[64] = {};
  for (u32 i = 0; i < times; ++i) {
    kernel::uapi::TestRun attr;
    attr.prog_fd = static_cast<u32>(program);
    attr.data_in = kernel::address_of(packet);
    attr.data_size_in = sizeof packet;
    SKEP_TRY(kernel::bpf_ok(kernel::uapi::Cmd::prog_test_run, attr, "write records"));
    if (attr.retval != 0) return fail(Code::limit, "the ring is full");
  }
  return {};
}

/// What is done with a record: its first word is added, or all of it is mixed into a sum.
u64 total = 0, taken = 0;
void add_word(const void* data) {
  total += *static_cast<const u64*>(data);
  ++taken;
}
void mix_all(const void* data) {
  const auto* words = static_cast<const u64*>(data);
  for (int i = 0; i < 4; ++i) total = (total ^ words[i]) * 0x9e3779b97f4a7c15u;
  ++taken;
}

/// Both sides' rings, with a writer for each.
class Rings {
 public:
  static Result<Rings> open(const Libbpf& lib, std::span<const std::byte> elf, u32 ring_bytes,
                            int (*on_record)(void*, void*, std::size_t)) {
    Rings rings(lib);
    auto spec = SKEP_TRY(ObjectSpec::from_bytes(elf, "kernel_load"));
    for (MapSpec& map : spec.maps)
      if (map.name == "events") map.max_entries = ring_bytes;
    rings.engine_ = SKEP_TRY(kernel_backend());
    rings.ours_ = SKEP_TRY(rings.engine_->load(spec));
    const u32 id = SKEP_TRY(rings.ours_->program("write_records")).info().id;
    kernel::uapi::ObjectId by_id{id};
    rings.our_writer_ = SKEP_TRY(kernel::bpf_fd(kernel::uapi::Cmd::prog_get_fd_by_id, by_id, "the writer"));
    auto events = SKEP_TRY(rings.ours_->map("events"));
    rings.reader_ = SKEP_TRY(events.open_ring());
    void* const object = lib.open_mem(elf.data(), elf.size(), nullptr);
    if (object == nullptr) return fail(Code::io, "libbpf does not open the object");
    rings.theirs_.reset(object);
    if (lib.set_max_entries(lib.find_map(object, "events"), ring_bytes) != 0 || lib.load(object) != 0)
      return fail(Code::io, "libbpf does not load the object");
    rings.ring_.reset(lib.ring_new(lib.map_fd(lib.find_map(object, "events")), on_record, nullptr, nullptr));
    if (!rings.ring_) return fail(Code::io, "libbpf does not open the ring");
    return rings;
  }
  int our_writer() const { return our_writer_.get(); }
  int their_writer() const { return lib_.program_fd(lib_.find_program(theirs_.get(), "write_records")); }
  RingReader& reader() { return *reader_; }
  int consume() { return lib_.ring_consume(ring_.get()); }

 private:
  explicit Rings(const Libbpf& lib) : lib_(lib), theirs_(nullptr, lib.close), ring_(nullptr, lib.ring_free) {}
  Libbpf lib_;
  std::unique_ptr<Backend> engine_;
  std::optional<Object> ours_;
  std::optional<RingReader> reader_;
  base::Fd our_writer_;
  std::unique_ptr<void, void (*)(void*)> theirs_, ring_;
};

/// `work` for each record, of `one`'s case.
template <void (*work)(const void*)>
Result<RingTimes> read_rings(const Libbpf& lib, std::span<const std::byte> elf, const RingCase& one, int rounds) {
  auto rings = SKEP_TRY(Rings::open(lib, elf, one.ring_bytes, [](void*, void* data, std::size_t) {
    work(data);
    return 0;
  }));
  const u64 waiting = u64{one.runs} * records_a_run;
  const auto timed = [&](int writer, auto&& read) -> Result<double> {
    double us = 0;
    for (u32 turn = 0; turn < one.turns; ++turn) {
      SKEP_TRY(run_program(writer, one.runs));
      taken = 0;
      const double begin = now_us();
      SKEP_TRY(read());
      us += now_us() - begin;
      if (taken != waiting) return fail(Code::io, fmt::format("{} records were taken of {}", taken, waiting));
    }
    return us * 1e3 / (static_cast<double>(waiting) * one.turns);
  };
  RingTimes times;
  for (int round = 0; round < rounds; ++round) {
    const auto read = [&]() -> Result<void> {
      SKEP_TRY(
          rings.reader().poll(std::chrono::milliseconds(0), [](const Record& record) { work(record.data.data()); }));
      return {};
    };
    times.skep.push_back(SKEP_TRY(timed(rings.our_writer(), read)));
    times.libbpf.push_back(SKEP_TRY(timed(rings.their_writer(), [&]() -> Result<void> {
      static_cast<void>(rings.consume());
      return {};
    })));
  }
  return times;
}

/// A writer on one CPU, a reader that does nothing else on another: ns from the first run of the writer to the last
/// record taken, by record. The ring is large enough for all, so that nobody waits for room.
Result<RingTimes> read_beside_writer(const Libbpf& lib, std::span<const std::byte> elf, int rounds) {
  constexpr u32 ring_bytes = 1u << 24, runs = 200;
  auto rings = SKEP_TRY(Rings::open(lib, elf, ring_bytes, [](void*, void* data, std::size_t) {
    add_word(data);
    return 0;
  }));
  const auto timed = [&](int writer, auto&& read) -> Result<double> {
    taken = 0;
    Result<void> wrote;
    const double begin = now_us();
    std::thread other([&] { wrote = run_program(writer, runs); });
    while (taken < u64{runs} * records_a_run && now_us() - begin < 5e6) read();
    const double us = now_us() - begin;
    other.join();
    SKEP_TRY(std::move(wrote));
    if (taken != u64{runs} * records_a_run) return fail(Code::io, fmt::format("only {} records were taken", taken));
    return us * 1e3 / static_cast<double>(taken);
  };
  RingTimes times;
  for (int round = 0; round < rounds; ++round) {
    times.skep.push_back(SKEP_TRY(timed(rings.our_writer(), [&] {
      static_cast<void>(rings.reader().poll(std::chrono::milliseconds(0),
                                            [](const Record& record) { add_word(record.data.data()); }));
    })));
    times.libbpf.push_back(SKEP_TRY(timed(rings.their_writer(), [&] { static_cast<void>(rings.consume()); })));
  }
  return times;
}

Result<void> measure(int rounds, bench::Figures& figures, bool json) {
  const auto lib = SKEP_TRY(Libbpf::open());
  const auto compiled = SKEP_TRY(compile::compile_file(SKEP_BENCH_DIRECTORY "/programs/kernel_load.bpf.c"));
  const std::vector<std::byte>& elf = compiled.object;
  std::vector<double> ours[2], theirs[2];
  // The kernel clears up after a load while the next one is on its way: each side follows the other, and itself, as
  // often.
  for (const bool all : {true, false})
    for (int round = 0; round < rounds; ++round)
      for (const bool by_skep : {round % 2 == 0, round % 2 != 0}) {
        auto& times = by_skep ? ours : theirs;
        times[all].push_back(SKEP_TRY(by_skep ? load_by_skep(elf, all) : load_by_libbpf(lib, elf, all)));
      }
  figures.add("load and attach, skep / libbpf", median(ours[1]) / median(theirs[1]));
  figures.add("load and attach one program, skep / libbpf", median(ours[0]) / median(theirs[0]));
  constexpr RingCase many{"ring buffer record, skep / libbpf", "take a record, 8 MB wait, ns", 1u << 24, 200, 1};
  constexpr RingCase few{"ring buffer record in cache, skep / libbpf", "take a record, 40 KB wait, ns", 1u << 16, 1,
                         100};
  constexpr RingCase work{"ring buffer record with work, skep / libbpf", "take a record and read all of it, ns",
                          1u << 16, 1, 100};
  const int ring_rounds = std::max(5, rounds / 4);
  const std::pair<RingCase, RingTimes> rings[] = {
      {many, SKEP_TRY(read_rings<add_word>(lib, elf, many, ring_rounds))},
      {few, SKEP_TRY(read_rings<add_word>(lib, elf, few, ring_rounds))},
      {work, SKEP_TRY(read_rings<mix_all>(lib, elf, work, ring_rounds))},
      {{"ring buffer record beside a writer, skep / libbpf", "a record written and taken at the same time, ns", 0, 0,
        0},
       SKEP_TRY(read_beside_writer(lib, elf, ring_rounds))},
  };
  for (const auto& [one, times] : rings) figures.add(one.figure, median(times.skep) / median(times.libbpf));
  if (json) return {};
  fmt::print("{:48} {:>10} {:>10} {:>8}\n", "", "skep", "libbpf", "ratio");
  const auto row = [](const char* name, const std::vector<double>& a, const std::vector<double>& b) {
    fmt::print("{:48} {:10.1f} {:10.1f} {:8.2f}\n", name, median(a), median(b), median(a) / median(b));
  };
  row("open, load and attach an object, us", ours[1], theirs[1]);
  row("the same without what is verified for long, us", ours[0], theirs[0]);
  for (const auto& [one, times] : rings) row(one.text, times.skep, times.libbpf);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 41;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--json")
      json = true;
    else
      rounds = std::max(3, std::atoi(argv[i]));
  }
  bench::Figures figures;
  if (const auto done = measure(rounds, figures, json); !done) {
    for (const char* name :
         {"load and attach, skep / libbpf", "load and attach one program, skep / libbpf",
          "ring buffer record, skep / libbpf", "ring buffer record in cache, skep / libbpf",
          "ring buffer record with work, skep / libbpf", "ring buffer record beside a writer, skep / libbpf"})
      figures.leave_out(name, done.error().message);
    fmt::print(stderr, "bench_kernel: {}\n", done.error().message);
    if (!json) return 1;
  }
  if (json) fmt::print("{}", figures.json());
  return 0;
}
