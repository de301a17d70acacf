// A loader with its BPF object inside: constants set, programs attached, a typed map and a variable read.
// Build: CMakeLists.txt beside this file.
// Run:   ./exec_counts [--kernel] sh -c 'ls; date'
#include <cstdio>
#include <cstring>
#include <skep/skep.hpp>

#include "exec_counts.skel.hpp"  // made by skep_add_skeleton()

skep::Result<int> count(bool in_kernel, std::vector<std::string> command) {
  auto engine = SKEP_TRY(in_kernel ? skep::kernel_backend() : skep::user_backend());
  auto counts = SKEP_TRY(exec_counts::open());
  counts.rodata->first_uid = 0;
  counts.data->weight = 1;
  SKEP_TRY(counts.load(*engine));
  SKEP_TRY(counts.attach());  // detached when `counts` goes
  skep::Workload workload;
  workload.command = std::move(command);
  SKEP_TRY(engine->run(workload));

  SKEP_TRY(counts.maps.users.for_each([](const exec_counts::user& user, const exec_counts::activity& activity) {
    std::printf("uid %u: %llu, from %.16s\n", user.uid, (unsigned long long)activity.calls, activity.last_command);
  }));
  SKEP_TRY(counts.bss.read());
  std::printf("all: %llu\n", (unsigned long long)counts.bss->calls);
  return 0;
}

int main(int argc, char** argv) {
  const bool in_kernel = argc > 1 && std::strcmp(argv[1], "--kernel") == 0;
  std::vector<std::string> command(argv + 1 + in_kernel, argv + argc);
  if (command.empty()) return std::fprintf(stderr, "usage: exec_counts [--kernel] COMMAND [ARG...]\n"), 2;
  auto status = count(in_kernel, std::move(command));
  if (!status) std::fprintf(stderr, "exec_counts: %s\n", status.error().message.c_str());
  return status ? *status : 1;
}
