// What a second thread costs one that looks up: another that looks up, and another that updates the same map.
//
// Time is the thread's own (CLOCK_THREAD_CPUTIME_ID), so that a machine whose two CPUs are busy with other things
// measures the caches and the locks, not the scheduler. The three situations take turns, engines as well.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/cpus.hpp"
#include "maps/parts.hpp"
#include "maps/programs.hpp"

namespace skep::bench {
namespace {

using Bytes = std::vector<std::byte>;

constexpr u32 entries = 8192, repeat = 3000, rounds = 15;

double thread_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e9 * static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> numbers) {
  std::ranges::sort(numbers);
  return numbers[numbers.size() / 2];
}

/// This thread's nanoseconds for one operation of the program.
Result<double> run(Program& program, u32 times, u8 seed) {
  TestRun input;
  input.data = Bytes(packet_bytes, std::byte{seed});
  input.repeat = times;
  const double begin = thread_ns();
  SKEP_TRY(program.test_run(input));
  return (thread_ns() - begin) / (static_cast<double>(times) * operations);
}

enum Other { nobody, reader, writer, others };

/// A map in one engine, and what a look-up took beside each of the others.
class Shared {
 public:
  static Result<Shared> make(Backend& engine, MapType type) {
    MapSpec map;
    map.type = type;
    map.key_size = map.value_size = 8;
    map.max_entries = type == MapType::lru_hash ? entries * 2 : entries;
    Shared shared(SKEP_TRY(engine.load(
        object_of(map, Keys::number, entries - 1, {Operation::nothing, Operation::look_up, Operation::update}))));
    const Map table = SKEP_TRY(shared.object_.map("table"));
    for (u64 key = 0; key < entries; ++key)
      SKEP_TRY(table.update(std::as_bytes(std::span(&key, 1)), std::as_bytes(std::span(&key, 1))));
    return shared;
  }

  Result<void> round() {
    const double empty = SKEP_TRY(run(object_.programs()[0], repeat, 3));
    for (const Other other : {nobody, reader, writer}) {
      std::atomic<bool> done{false};
      std::thread beside;
      if (other != nobody)
        beside = std::thread([&, other] {
          while (!done.load(std::memory_order_relaxed)) (void)run(object_.programs()[other == reader ? 1 : 2], 200, 9);
        });
      const auto spent = run(object_.programs()[1], repeat, 3);
      done.store(true, std::memory_order_relaxed);
      if (beside.joinable()) beside.join();
      spent_[other].push_back(SKEP_TRY(spent) - empty);
    }
    return {};
  }
  void forget() {
    for (auto& rounds_ns : spent_) rounds_ns.clear();
  }
  double ns(Other other) const { return median(spent_[other]); }

 private:
  explicit Shared(Object object) : object_(std::move(object)) {}
  Object object_;
  std::vector<double> spent_[others];
};

Result<void> compare(Session& session, const char* name, MapType type) {
  std::vector<Shared> sides;
  sides.push_back(SKEP_TRY(Shared::make(*session.user, type)));
  if (session.kernel != nullptr) sides.push_back(SKEP_TRY(Shared::make(*session.kernel, type)));
  for (u32 i = 0; i < rounds + 2; ++i)
    for (Shared& side : sides) {
      SKEP_TRY(side.round());
      if (i == 1) side.forget();  // the first two warm up: caches, and the user engine's second compiler
    }
  for (const Shared& side : sides)
    fmt::print(session.out, "{:<28} {:<8} {:>9.1f} {:>11.1f} {:>13.1f} {:>9.2f} {:>9.2f}\n", name,
               &side == sides.data() ? "user" : "kernel", side.ns(nobody), side.ns(reader), side.ns(writer),
               side.ns(reader) / side.ns(nobody), side.ns(writer) / side.ns(nobody));
  const Shared& ours = sides.front();
  session.figures.add(fmt::format("{} beside a reader / alone", name), ours.ns(reader) / ours.ns(nobody));
  session.compare(fmt::format("{} beside a writer / kernel", name), ours.ns(writer), sides.back().ns(writer));
  return {};
}

}  // namespace

void threads(Session& session) {
  if (!session.wants("threads")) return;
  constexpr std::pair<const char*, MapType> maps[] = {{"hash look-up", MapType::hash},
                                                      {"LRU hash look-up", MapType::lru_hash}};
  const bool alone = base::online_cpus().size() < 2;
  fmt::print(session.out, "\n{:<28} {:<8} {:>9} {:>11} {:>13} {:>9} {:>9}\n", "ns of a thread's own time", "", "alone",
             "2nd reader", "with a writer", "reader/1", "writer/1");
  for (const auto& [name, type] : maps) {
    const auto done = alone ? Result<void>(fail(Code::unsupported, "one CPU only")) : compare(session, name, type);
    if (done) continue;
    fmt::print(stderr, "{}: {}\n", name, done.error().message);
    session.figures.leave_out(fmt::format("{} beside a reader / alone", name), done.error().message);
    session.figures.leave_out(fmt::format("{} beside a writer / kernel", name), done.error().message);
  }
}

}  // namespace skep::bench
