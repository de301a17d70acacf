// The abstract operators against the machine's: every one at 8 bits, random ones at 32 and 64.
//
//     prove_domain [--full] [--pairs N] [--seed S] [--threads T] [--state FILE] [--only TEXT]
//
// What is tested are the verifier's own templates, at 8 bits instantiated there. Each law is "whatever the machine
// computes from members is a member of the result": for all 43,046,721 pairs of Tnums (tnums.cpp) and all 1,082,146,816
// pairs of ranges in each order (ranges.cpp; without --full a grid of them), and for N pairs of 64 and 32 bits
// (random_pairs.cpp; --full: 10^9). FILE keeps which tasks are done, so that a run can be stopped and go on; it counts
// only for the program that wrote it.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <thread>

#include "machine8.hpp"
#include "prove.hpp"

namespace skep::verify {

std::string_view name_of(isa::Alu op) {
  constexpr std::string_view names[] = {"add", "sub", "mul",  "div", "sdiv", "or",   "and", "lsh",
                                        "rsh", "mod", "smod", "xor", "mov",  "arsh", "neg"};
  return names[static_cast<u8>(op)];
}
std::string_view name_of(isa::Compare comparison) {
  constexpr std::string_view names[] = {"==", ">", ">=", "&", "!=", "s>", "s>=", "<", "<=", "s<", "s<="};
  return names[std::find(std::begin(comparisons), std::end(comparisons), comparison) - comparisons];
}

void Tally::tell(const std::string& text) { fmt::print("VIOLATION {}\n", text); }

namespace {

struct Settings {
  bool full = false;
  u64 pairs = 200'000, seed = 20260801;
  u32 threads = 1;
  std::string state, only;
};

/// Which program this is: what another one has proved does not count.
u64 fingerprint() {
  std::ifstream in("/proc/self/exe", std::ios::binary);
  u64 hash = 0xcbf29ce484222325;  // FNV-1a
  for (std::istreambuf_iterator<char> at(in), end; at != end; ++at)
    hash = (hash ^ static_cast<u8>(*at)) * 0x100000001b3;
  return hash;
}

/// Tasks that are done without a violation, and how many pairs each judged.
class Done {
 public:
  explicit Done(std::string file) : file_(std::move(file)) {
    if (file_.empty()) return;
    const std::string first = fmt::format("program {:016x}", fingerprint());
    std::ifstream in(file_);
    std::string line;
    if (std::getline(in, line) && line == first) {
      while (std::getline(in, line))
        if (const auto tab = line.find('\t'); tab != std::string::npos)
          pairs_[line.substr(tab + 1)] = std::strtoull(line.c_str(), nullptr, 10);
    } else {
      std::ofstream(file_) << first << '\n';
    }
  }
  const u64* find(const std::string& task) const {
    const auto known = pairs_.find(task);
    return known == pairs_.end() ? nullptr : &known->second;
  }
  void add(const std::string& task, u64 pairs) const {
    if (!file_.empty()) std::ofstream(file_, std::ios::app) << pairs << '\t' << task << '\n';
  }

 private:
  std::string file_;
  std::map<std::string, u64> pairs_;
};

std::vector<Task> tasks_of(const Settings& settings) {
  std::vector<Task> tasks;
  add_tnums(tasks, settings.full ? 8 : 5);
  add_arithmetic(tasks, settings.full ? 1 : 25);
  add_comparisons(tasks, settings.full ? 1 : 37);
  add_random_pairs(tasks, settings.pairs, settings.seed);
  std::erase_if(tasks, [&](const Task& task) { return task.name.find(settings.only) == std::string::npos; });
  return tasks;
}

int run(const Settings& settings) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Task> tasks = tasks_of(settings);
  const Done done(settings.state);
  std::atomic<std::size_t> next = 0;
  std::mutex telling;
  u64 judged = 0, violations = 0, tasks_before = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < tasks.size(); i = next++) {
      const Task& task = tasks[i];
      if (const u64* pairs = done.find(task.name)) {
        const std::lock_guard lock(telling);
        judged += *pairs, tasks_before++;
        continue;
      }
      Tally tally;
      task.run(tally);
      const std::lock_guard lock(telling);
      judged += tally.judged, violations += tally.violations;
      if (tally.violations == 0) done.add(task.name, tally.judged);
      if (!settings.full && tally.violations == 0) continue;
      fmt::print("{}: {} pairs{}{}, {} violations\n", task.name, tally.judged, tally.note.empty() ? "" : ", ",
                 tally.note, tally.violations);
      std::fflush(stdout);
    }
  };
  std::vector<std::jthread> helpers;
  for (u32 t = 1; t < settings.threads; t++) helpers.emplace_back(work);
  work();
  helpers.clear();
  if (tasks_before != 0) fmt::print("{} tasks were done before\n", tasks_before);
  fmt::print("{} tasks, {} pairs in {:.0f} s, {} violations\n", tasks.size(), judged,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), violations);
  return violations == 0 && judged != 0 ? 0 : 1;
}

}  // namespace
}  // namespace skep::verify

int main(int argc, char** argv) {
  skep::verify::Settings settings;
  for (int i = 1; i < argc; i++) {
    const std::string_view option = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    const auto number = [&] { return i++, std::strtoull(value, nullptr, 10); };
    if (option == "--full")
      settings.full = true, settings.pairs = 1'000'000'000;
    else if (option == "--pairs")
      settings.pairs = number();
    else if (option == "--seed")
      settings.seed = number();
    else if (option == "--threads")
      settings.threads = static_cast<skep::u32>(std::max(1ull, number()));
    else if (option == "--state")
      settings.state = value, i++;
    else if (option == "--only")
      settings.only = value, i++;
    else
      return fmt::print(stderr, "unknown option {}; see the head of tests/domain/prove.cpp\n", option), 2;
  }
  return skep::verify::run(settings);
}
