// Records from a program to a live reader, and back.
//
// One thread runs a program that writes records as fast as it can, another takes them out. Every record is counted
// twice: by the reader, and, where there was no room, by the program. The two must add up to what was tried.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "base/cpus.hpp"
#include "map/map.hpp"
#include "map/user_ringbuf.hpp"
#include "maps/parts.hpp"
#include "maps/programs.hpp"

namespace skep::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<std::byte>;

constexpr u32 runs = 40'000, rounds = 9;  // 2.56 million records a round
constexpr u64 tried = u64{runs} * operations;

double micros_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

double median(std::vector<double> numbers) {
  std::ranges::sort(numbers);
  return numbers[numbers.size() / 2];
}

struct Round {
  u64 read = 0, refused = 0;
  double produced_us = 0;  ///< until the last record was tried
};

/// One engine's ring, its program and its reader.
class Stream {
 public:
  static Result<Stream> make(Backend& engine) {
    MapSpec ring;
    ring.type = MapType::ringbuf;
    ring.max_entries = 8u << 20;
    Object object = SKEP_TRY(engine.load(object_of(ring, Keys::number, 0, {Operation::output})));
    const Map table = SKEP_TRY(object.map("table"));
    RingReader reader = SKEP_TRY(table.open_ring());
    return Stream(std::move(object), std::move(reader));
  }

  Result<Round> round() {
    Round done;
    std::atomic<bool> over{false};
    std::thread reading([&] {
      const auto count = [&](const Record& record) { done.read += record.data.size() == record_bytes; };
      while (!over.load(std::memory_order_acquire)) (void)reader_.poll(std::chrono::milliseconds(1), count);
      while (reader_.poll(std::chrono::milliseconds(0), count).value_or(0) > 0) {
      }
    });
    TestRun run;
    run.data = Bytes(packet_bytes, std::byte{0});
    run.repeat = runs;
    const auto begin = Clock::now();
    const auto result = object_.programs()[0].test_run(run);
    done.produced_us = micros_since(begin);
    over.store(true, std::memory_order_release);
    reading.join();
    if (!result) return tl::unexpected(result.error());
    std::memcpy(&done.refused, result->data.data() + refused_offset, sizeof done.refused);
    return done;
  }

 private:
  Stream(Object object, RingReader reader) : object_(std::move(object)), reader_(std::move(reader)) {}
  Object object_;
  RingReader reader_;
};

struct Outcome {
  std::vector<double> read_per_us;
  u64 read = 0, refused = 0, uncounted = 0;
};

Result<void> add_round(Stream& stream, Outcome& outcome, bool counts) {
  const Round round = SKEP_TRY(stream.round());
  const u64 counted = round.read + round.refused;
  outcome.uncounted += counted > tried ? counted - tried : tried - counted;
  if (!counts) return {};
  outcome.read_per_us.push_back(static_cast<double>(round.read) / round.produced_us);
  outcome.read += round.read;
  outcome.refused += round.refused;
  return {};
}

void show(Session& session, const char* engine, const Outcome& outcome) {
  fmt::print(session.out, "{:<8} {:>9.1f} million read a second; {} read + {} refused, {} uncounted\n", engine,
             median(outcome.read_per_us), outcome.read, outcome.refused, outcome.uncounted);
}

Result<void> to_reader(Session& session) {
  std::vector<Stream> streams;
  streams.push_back(SKEP_TRY(Stream::make(*session.user)));
  if (session.kernel != nullptr) streams.push_back(SKEP_TRY(Stream::make(*session.kernel)));
  std::vector<Outcome> outcomes(streams.size());
  for (u32 i = 0; i < rounds + 1; ++i)
    for (std::size_t side = 0; side < streams.size(); ++side) SKEP_TRY(add_round(streams[side], outcomes[side], i > 0));
  fmt::print(session.out, "\nring buffer, 64 bytes, one producer and a live reader\n");
  show(session, "user", outcomes.front());
  if (session.kernel != nullptr) show(session, "kernel", outcomes.back());
  const double ours = median(outcomes.front().read_per_us);
  session.figures.add("ring buffer: records uncounted", static_cast<double>(outcomes.front().uncounted));
  session.figures.add("ring buffer: million records read a second", ours);
  session.compare("ring buffer: records read a second / kernel", ours, median(outcomes.back().read_per_us));
  return {};
}

/// Records of the host's through a user ring buffer to a consumer that drains: millions a second.
Result<void> from_host(Session& session) {
  MapSpec spec;
  spec.name = "bench";
  spec.type = MapType::user_ringbuf;
  spec.max_entries = 8u << 20;
  const auto ring = SKEP_TRY(map::Map::create(spec));
  std::vector<double> per_us;
  u64 uncounted = 0;
  for (u32 i = 0; i < rounds; ++i) {
    std::atomic<bool> over{false};
    u64 read = 0;
    std::thread draining([&] {
      const auto count = [](void* context, const std::byte*, u32) noexcept -> s64 {
        ++*static_cast<u64*>(context);
        return 0;
      };
      for (bool last = false; !last;) {
        last = over.load(std::memory_order_acquire);
        while (map::user_ring_drain(*ring, count, &read, 0) > 0) {
        }
        if (!last) std::this_thread::sleep_for(std::chrono::microseconds(50));  // programs drain at events, not always
      }
    });
    const Bytes record(record_bytes, std::byte{1});
    u64 refused = 0;
    const auto begin = Clock::now();
    for (u64 n = 0; n < tried; ++n) refused += map::user_ring_write(*ring, record) != 0;
    const double spent_us = micros_since(begin);
    over.store(true, std::memory_order_release);
    draining.join();
    per_us.push_back(static_cast<double>(read) / spent_us);
    uncounted += tried - (read + refused);
  }
  fmt::print(session.out, "user ring buffer, 64 bytes, a live consumer: {:.1f} million a second, {} uncounted\n",
             median(per_us), uncounted);
  session.figures.add("user ring buffer: records uncounted", static_cast<double>(uncounted));
  session.figures.add("user ring buffer: million records a second", median(per_us));
  return {};
}

}  // namespace

void rings(Session& session) {
  if (!session.wants("rings")) return;
  const bool alone = base::online_cpus().size() < 2;
  for (const auto& [part, names] :
       {std::pair{&to_reader, std::vector<const char*>{"ring buffer: records uncounted",
                                                       "ring buffer: million records read a second",
                                                       "ring buffer: records read a second / kernel"}},
        std::pair{&from_host, std::vector<const char*>{"user ring buffer: records uncounted",
                                                       "user ring buffer: million records a second"}}}) {
    const auto done = alone ? Result<void>(fail(Code::unsupported, "one CPU only")) : part(session);
    if (done) continue;
    fmt::print(stderr, "rings: {}\n", done.error().message);
    for (const char* name : names) session.figures.leave_out(name, done.error().message);
  }
}

}  // namespace skep::bench
