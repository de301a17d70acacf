// Counts execve calls by user while a command runs: load, attach, run, read a map.
// Build: c++ -std=c++20 count_execs.cpp $(pkg-config --cflags --libs skep) -o count_execs
// Run:   ./count_execs count_execs.bpf.o sh -c 'ls; date'
#include <cstdio>
#include <skep/skep.hpp>

skep::Result<int> count(const char* object_file, std::vector<std::string> command) {
  auto spec = SKEP_TRY(skep::ObjectSpec::from_file(object_file));
  auto engine = SKEP_TRY(skep::user_backend());  // or kernel_backend(); the rest is the same
  auto object = SKEP_TRY(engine->load(spec));    // verified; maps made
  auto program = SKEP_TRY(object.program("count_execs"));
  auto link = SKEP_TRY(program.attach());  // detaches when it goes
  SKEP_TRY(engine->run({.command = std::move(command)}));

  auto counts = SKEP_TRY(object.map("counts"));
  std::optional<std::vector<std::byte>> key = SKEP_TRY(counts.next_key(std::nullopt));
  for (; key; key = SKEP_TRY(counts.next_key(*key))) {
    skep::u32 uid = 0;
    __builtin_memcpy(&uid, key->data(), sizeof uid);
    std::printf("uid %u: %llu\n", uid, (unsigned long long)SKEP_TRY(counts.get<skep::u64>(uid)));
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: count_execs OBJECT COMMAND [ARG...]\n"), 2;
  auto status = count(argv[1], std::vector<std::string>(argv + 2, argv + argc));
  if (!status) std::fprintf(stderr, "count_execs: %s\n", status.error().message.c_str());
  return status ? *status : 1;
}
