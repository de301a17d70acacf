// What names cost: the kernel's table beside merely reading its file, a look-up in it, the table of a large program, an
// address of this process.
//
//   bench_symbols [FILE]     FILE: a program or library whose table is read (default: this program)
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <vector>

#include "base/mapped_file.hpp"
#include "symbols/symbolizer.hpp"

namespace {

using namespace skep;
using Clock = std::chrono::steady_clock;

template <class Work>
double least_milliseconds(int rounds, Work&& work) {
  double least = 1e9;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = Clock::now();
    work();
    least = std::min(least, std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
  }
  return least;
}

void kernel_table() {
  const auto symbols = symbols::KernelSymbols::read();
  if (!symbols) return fmt::print("kernel: {}\n", symbols.error().message);
  std::vector<char> buffer(65536);
  const double raw = least_milliseconds(10, [&] {
    const base::Fd file(::open(symbols::kallsyms_path, O_RDONLY | O_CLOEXEC));
    while (::read(file.get(), buffer.data(), buffer.size()) > 0) {
    }
  });
  const double whole = least_milliseconds(10, [] { static_cast<void>(symbols::KernelSymbols::read()); });
  fmt::print("kernel: {} symbols in {:.1f} ms, {:.1f} ms of them the kernel printing the file; {:.1f} MiB kept\n",
             symbols->size(), whole, raw, static_cast<double>(symbols->memory_bytes()) / (1 << 20));
  std::mt19937_64 random(1);
  std::vector<u64> addresses(100'000);
  for (u64& address : addresses) address = symbols->at(random() % symbols->size()).address + random() % 64;
  u64 found = 0;
  const double lookups = least_milliseconds(10, [&] {
    for (const u64 address : addresses) found += symbols->find(address).has_value();
  });
  fmt::print("kernel: {:.0f} ns for an address, {:.2f} ms for a name ({} found)\n",
             lookups * 1e6 / static_cast<double>(addresses.size()),
             least_milliseconds(10, [&] { static_cast<void>(symbols->address_of("no_such_function")); }), found);
}

void file_table(const std::string& path) {
  const auto read = [&] {
    return symbols::FileSymbols::read(base::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), {});
  };
  const auto table = read();
  if (!table) return fmt::print("{}: {}\n", path, table.error().message);
  std::size_t functions = 0;
  for (const auto& part : table->tables()) functions += part.size();
  std::error_code none;
  fmt::print("{} ({:.0f} MiB): {} functions in {:.1f} ms, {:.1f} MiB kept\n", path,
             static_cast<double>(std::filesystem::file_size(path, none)) / (1 << 20), functions,
             least_milliseconds(5, [&] { static_cast<void>(read()); }),
             static_cast<double>(table->memory_bytes()) / (1 << 20));
}

void process() {
  symbols::Symbolizer symbolizer;
  const u64 addresses[] = {reinterpret_cast<u64>(&process), reinterpret_cast<u64>(&file_table)};
  const auto pid = static_cast<u32>(::getpid());
  const double first = least_milliseconds(1, [&] { symbolizer.user(pid, addresses); });
  constexpr int stacks = 10'000;
  const double later = least_milliseconds(5, [&] {
    for (int i = 0; i < stacks; ++i) symbolizer.user(pid, addresses);
  });
  fmt::print("process: {:.2f} ms for the first address, {:.1f} us for each after it\n", first,
             later * 1e3 / (2 * stacks));
}

}  // namespace

int main(int count, char** words) {
  kernel_table();
  file_table(count > 1 ? words[1] : std::filesystem::canonical("/proc/self/exe").native());
  process();
}
