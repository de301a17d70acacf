// Events: waiting for several readers at once, and what they had as plain arrays.
//
// Records are copied out of their rings into one buffer for each reader. So the ring is free again at once, no function
// of the caller runs inside of a reader, and what the caller does with a record (fail, call us again) is its own
// affair.
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/fd.hpp"
#include "capi/state.hpp"

struct skep_reader {
  std::shared_ptr<skep::capi::EngineState> engine;
  std::shared_ptr<skep::capi::ObjectState> object;  ///< whose map it reads, or null
  skep::RingReader reader;
  std::vector<std::byte> bytes;
  std::vector<skep_record> records;
  std::vector<std::size_t> offsets;
};

namespace skep::capi {
namespace {

constexpr std::size_t record_alignment = 8;

/// Takes what waits, after what the reader holds already.
Result<u64> drain(skep_reader& from) {
  const auto count = SKEP_TRY(from.reader.poll(std::chrono::milliseconds(0), [&](const Record& record) {
    from.bytes.resize((from.bytes.size() + record_alignment - 1) / record_alignment * record_alignment);
    from.offsets.push_back(from.bytes.size());
    from.records.push_back({nullptr, record.data.size(), record.cpu});
    from.bytes.insert(from.bytes.end(), record.data.begin(), record.data.end());
  }));
  // The buffer stays where it is only from here on.
  for (std::size_t i = 0; i < from.records.size(); ++i) from.records[i].data = from.bytes.data() + from.offsets[i];
  return count;
}

Result<u64> drain_all(std::span<skep_reader* const> readers) {
  u64 count = 0;
  for (skep_reader* reader : readers) {
    reader->bytes.clear();
    reader->records.clear();
    reader->offsets.clear();
    count += SKEP_TRY(drain(*reader));
  }
  return count;
}

Result<s64> poll_all(std::span<skep_reader* const> readers, const skep_engine* engine, s32 timeout_ms) {
  if (const u64 count = SKEP_TRY(drain_all(readers)); count != 0 || timeout_ms == 0) return static_cast<s64>(count);
  std::vector<pollfd> waiting;
  for (const skep_reader* reader : readers) waiting.push_back({reader->reader.wait_fd(), POLLIN, 0});
  if (engine != nullptr) waiting.push_back({engine->state->end_event.get(), POLLIN, 0});
  if (::poll(waiting.data(), waiting.size(), timeout_ms < 0 ? -1 : timeout_ms) < 0 && errno != EINTR)
    return tl::unexpected(base::os_error("poll"));
  return static_cast<s64>(SKEP_TRY(drain_all(readers)));
}

}  // namespace
}  // namespace skep::capi

using namespace skep;
using namespace skep::capi;

skep_reader* skep_table_reader(skep_table* table) {
  return handle_of<skep_reader>([&]() -> Result<std::unique_ptr<skep_reader>> {
    if (table == nullptr) return is_null("the table");
    auto object = table->object->shared_from_this();
    auto reader = SKEP_TRY(table->map().open_ring());
    return std::make_unique<skep_reader>(skep_reader{object->engine, object, std::move(reader), {}, {}, {}});
  });
}

skep_reader* skep_engine_trace_reader(skep_engine* engine) {
  return handle_of<skep_reader>([&]() -> Result<std::unique_ptr<skep_reader>> {
    if (engine == nullptr) return is_null("the engine");
    auto reader = SKEP_TRY(engine->state->backend->open_trace_pipe());
    return std::make_unique<skep_reader>(skep_reader{engine->state, nullptr, std::move(reader), {}, {}, {}});
  });
}

void skep_reader_close(skep_reader* reader) { delete reader; }

int64_t skep_readers_poll(skep_reader* const* readers, size_t count, skep_engine* engine, int32_t timeout_ms) {
  return guarded([&]() -> Result<s64> {
    if (readers == nullptr && count != 0) return is_null("the list of readers");
    if (std::find(readers, readers + count, nullptr) != readers + count) return is_null("a reader of the list");
    return poll_all({readers, count}, engine, timeout_ms);
  });
}

uint64_t skep_reader_records(const skep_reader* reader, const skep_record** records) {
  if (reader == nullptr || records == nullptr) return 0;
  *records = reader->records.data();
  return reader->records.size();
}

uint64_t skep_reader_lost(const skep_reader* reader) { return reader != nullptr ? reader->reader.lost() : 0; }
