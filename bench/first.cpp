// The smallest host of the engine: reads an object file into memory, loads it, runs its program once on a zeroed packet
// and says when it had the result. bench_embed starts it many times and looks at its size.
//
//   bench_first OBJECT     prints CLOCK_MONOTONIC in ns at main(), with the file in memory, and with the result
#include <skep/vm.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <vector>

namespace {

long long now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

std::vector<std::byte> contents(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (fd < 0 || ::fstat(fd, &status) != 0) return {};
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  const auto size = ::read(fd, bytes.data(), bytes.size());
  bytes.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  ::close(fd);
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  const long long begin = now_ns();
  if (argc != 2) return std::fputs("usage: bench_first OBJECT\n", stderr), 2;
  const auto object = contents(argv[1]);
  const long long read = now_ns();
  const auto module = skep::host::Module::from_bytes(object, "first");
  const auto program = module ? module->program() : tl::unexpected<skep::Error>(module.error());
  if (!program) return std::fprintf(stderr, "%s\n", program.error().message.c_str()), 1;
  std::byte packet[64] = {};
  const unsigned long long result = program->run_packet(packet);
  const long long end = now_ns();
  std::printf("%lld %lld %lld %llu\n", begin, read, end, result);
  return 0;
}
