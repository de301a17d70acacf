// The kernel engine beside libbpf: loading and attaching an object, reading a ring buffer.
//
//   bench_kernel [ROUNDS] [--json]
//
// Both sides load the same ELF bytes into the same kernel, taking turns; a round opens, loads, attaches a raw
// tracepoint and takes everything down again. Most of that is the kernel's own work, and equal. For the ring, a program
// writes 200,000 records in test runs without waking anybody, then the reader takes them all: only the taking is timed.
// libbpf is opened at run time (libbpf.so.1); without it, or without the right to load programs, nothing is measured
// and the reason is said.
#include <dlfcn.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <skep/backend.hpp>
#include <string_view>
#include <vector>

#include "base/mapped_file.hpp"
#include "compile/compile.hpp"
#include "figures.hpp"
#include "kernel/syscall.hpp"

namespace {

using namespace skep;

double now_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// libbpf's functions that are needed here.
struct Libbpf {
  void* (*open_mem)(const void*, std::size_t, const void*);
  int (*load)(void*);
  void (*close)(void*);
  void* (*find_program)(const void*, const char*);
  void* (*find_map)(const void*, const char*);
  int (*map_fd)(const void*);
  int (*program_fd)(const void*);
  void* (*attach)(const void*);
  int (*destroy)(void*);
  void* (*ring_new)(int, int (*)(void*, void*, std::size_t), void*, const void*);
  int (*ring_consume)(void*);
  void (*ring_free)(void*);
  int (*set_max_entries)(void*, u32);
  void* (*set_print)(void*);

  static Result<Libbpf> open() {
    void* const library = ::dlopen("libbpf.so.1", RTLD_NOW);
    if (library == nullptr) return fail(Code::not_found, "libbpf.so.1 is not installed");
    Libbpf out{};
    bool complete = true;
    const auto find = [&]<class F>(F& function, const char* name) {
      function = reinterpret_cast<F>(::dlsym(library, name));
      complete &= function != nullptr;
    };
    find(out.open_mem, "bpf_object__open_mem");
    find(out.load, "bpf_object__load");
    find(out.close, "bpf_object__close");
    find(out.find_program, "bpf_object__find_program_by_name");
    find(out.find_map, "bpf_object__find_map_by_name");
    find(out.map_fd, "bpf_map__fd");
    find(out.program_fd, "bpf_program__fd");
    find(out.attach, "bpf_program__attach");
    find(out.destroy, "bpf_link__destroy");
    find(out.ring_new, "ring_buffer__new");
    find(out.ring_consume, "ring_buffer__consume");
    find(out.ring_free, "ring_buffer__free");
    find(out.set_max_entries, "bpf_map__set_max_entries");
    find(out.set_print, "libbpf_set_print");
    if (!complete) return fail(Code::unsupported, "libbpf.so.1 lacks a function that its version 1 has");
    out.set_print(nullptr);
    return out;
  }
};

/// The ring of the objects that are only loaded: a large one is mostly the kernel's zeroing of pages.
constexpr u32 small_ring_bytes = 1u << 16;

Result<double> load_by_skep(std::span<const std::byte> elf) {
  const double begin = now_us();
  auto spec = SKEP_TRY(ObjectSpec::from_bytes(elf, "kernel_load"));
  for (MapSpec& map : spec.maps)
    if (map.name == "events") map.max_entries = small_ring_bytes;
  auto engine = SKEP_TRY(kernel_backend());
  auto object = SKEP_TRY(engine->load(spec));
  auto link = SKEP_TRY(SKEP_TRY(object.program("on_exec")).attach());
  return now_us() - begin;
}

Result<double> load_by_libbpf(const Libbpf& lib, std::span<const std::byte> elf) {
  const double begin = now_us();
  void* const object = lib.open_mem(elf.data(), elf.size(), nullptr);
  if (object == nullptr || lib.set_max_entries(lib.find_map(object, "events"), small_ring_bytes) != 0 ||
      lib.load(object) != 0)
    return fail(Code::io, "libbpf does not load the object");
  void* const link = lib.attach(lib.find_program(object, "on_exec"));
  const double end = now_us();
  if (link == nullptr) return fail(Code::io, "libbpf does not attach the program");
  lib.destroy(link);
  lib.close(object);
  return end - begin;
}

constexpr u32 batches = 200, records_a_batch = 1000;

/// ns a record, by both readers in turn over the same ring.
struct RingTimes {
  std::vector<double> skep, libbpf;
};

Result<void> fill(Program& writer) {
  const TestRun packet{.data = std::vector<std::byte>(64)};
  for (u32 i = 0; i < batches; ++i)
    if (SKEP_TRY(writer.test_run(packet)).result != 0) return fail(Code::limit, "the ring is full");
  return {};
}

Result<void> run_by_descriptor(int program, u32 times) {
  const std::vector<std::byte> packet(64);
  for (u32 i = 0; i < times; ++i) {
    kernel::uapi::TestRun attr;
    attr.prog_fd = static_cast<u32>(program);
    attr.data_in = kernel::address_of(packet.data());
    attr.data_size_in = static_cast<u32>(packet.size());
    SKEP_TRY(kernel::bpf_ok(kernel::uapi::Cmd::prog_test_run, attr, "write records"));
    if (attr.retval != 0) return fail(Code::limit, "the ring is full");
  }
  return {};
}

Result<RingTimes> read_rings(const Libbpf& lib, std::span<const std::byte> elf, int rounds) {
  RingTimes times;
  const auto spec = SKEP_TRY(ObjectSpec::from_bytes(elf, "kernel_load"));
  auto engine = SKEP_TRY(kernel_backend());
  auto object = SKEP_TRY(engine->load(spec));
  auto writer = SKEP_TRY(object.program("write_records"));
  auto reader = SKEP_TRY(SKEP_TRY(object.map("events")).open_ring());

  void* const other = lib.open_mem(elf.data(), elf.size(), nullptr);
  if (other == nullptr || lib.load(other) != 0) return fail(Code::io, "libbpf does not load the object");
  static u64 sum = 0, count = 0;
  const auto take = [](void*, void* data, std::size_t) {
    sum += *static_cast<const u64*>(data);
    ++count;
    return 0;
  };
  void* const ring = lib.ring_new(lib.map_fd(lib.find_map(other, "events")), take, nullptr, nullptr);
  if (ring == nullptr) return fail(Code::io, "libbpf does not open the ring");
  // The program that writes into libbpf's ring is run by its descriptor, through the engine's own test run.
  const int other_writer = lib.program_fd(lib.find_program(other, "write_records"));
  constexpr double records = static_cast<double>(batches) * records_a_batch;
  for (int round = 0; round < rounds; ++round) {
    SKEP_TRY(fill(writer));
    count = 0;
    double begin = now_us();
    while (count < batches * records_a_batch) {
      const auto got = SKEP_TRY(reader.poll(std::chrono::milliseconds(0), [](const Record& record) {
        sum += *reinterpret_cast<const u64*>(record.data.data());
        ++count;
      }));
      if (got == 0) return fail(Code::io, fmt::format("the ring ended after {} records", count));
    }
    times.skep.push_back((now_us() - begin) * 1e3 / records);
    SKEP_TRY(run_by_descriptor(other_writer, batches));
    count = 0;
    begin = now_us();
    const int got = lib.ring_consume(ring);
    if (got != static_cast<int>(batches * records_a_batch))
      return fail(Code::io, fmt::format("libbpf took {} records", got));
    times.libbpf.push_back((now_us() - begin) * 1e3 / records);
  }
  lib.ring_free(ring);
  lib.close(other);
  return times;
}

Result<void> measure(int rounds, bench::Figures& figures, bool json) {
  const auto lib = SKEP_TRY(Libbpf::open());
  const auto compiled = SKEP_TRY(compile::compile_file(SKEP_BENCH_DIRECTORY "/programs/kernel_load.bpf.c"));
  const std::vector<std::byte>& elf = compiled.object;
  std::vector<double> ours, theirs;
  for (int round = 0; round < rounds; ++round) {
    ours.push_back(SKEP_TRY(load_by_skep(elf)));
    theirs.push_back(SKEP_TRY(load_by_libbpf(lib, elf)));
  }
  const auto ring = SKEP_TRY(read_rings(lib, elf, std::max(5, rounds / 4)));
  figures.add("load and attach, skep / libbpf", median(ours) / median(theirs));
  figures.add("ring buffer record, skep / libbpf", median(ring.skep) / median(ring.libbpf));
  if (json) return {};
  fmt::print("{:40} {:>10} {:>10} {:>8}\n", "", "skep", "libbpf", "ratio");
  const auto row = [](const char* name, const std::vector<double>& a, const std::vector<double>& b) {
    fmt::print("{:40} {:10.1f} {:10.1f} {:8.2f}\n", name, median(a), median(b), median(a) / median(b));
  };
  row("open, load and attach an object, us", ours, theirs);
  row("take a record from a ring buffer, ns", ring.skep, ring.libbpf);
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
    for (const char* name : {"load and attach, skep / libbpf", "ring buffer record, skep / libbpf"})
      figures.leave_out(name, done.error().message);
    fmt::print(stderr, "bench_kernel: {}\n", done.error().message);
    if (!json) return 1;
  }
  if (json) fmt::print("{}", figures.json());
  return 0;
}
