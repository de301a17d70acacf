// The compiled layout of an entry against the walk over its types: random types, random bytes, every form.
#include "inspect/entry_printer.hpp"

#include <gtest/gtest.h>

#include <random>

#include "btf/builder.hpp"
#include "btf/format_value.hpp"
#include "inspect/dump.hpp"

namespace skep::inspect {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::initializer_list<int> values) {
  Bytes bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

/// What an entry looked like before it was compiled: write_value() inside of the same JSON.
std::string by_walking(const MapInfo& info, const btf::Btf& types, std::span<const std::byte> key,
                       std::span<const std::byte> value, bool pretty) {
  base::JsonWriter json(pretty, 1);
  const auto typed = [&](u32 type, std::span<const std::byte> bytes) {
    base::JsonWriter attempt;
    if (btf::write_value(attempt, types, type, bytes, btf::ValueStyle::plain)) {
      (void)btf::write_value(json, types, type, bytes, btf::ValueStyle::plain);
      return;
    }
    json.begin_array();
    for (const auto byte : bytes)
      json.string("0x" + std::string(1, "0123456789abcdef"[static_cast<u8>(byte) >> 4]) +
                  "0123456789abcdef"[static_cast<u8>(byte) & 15]);
    json.end_array();
  };
  json.begin_object();
  json.key("key");
  typed(info.btf_key_type_id, key);
  json.key("value");
  typed(info.btf_value_type_id, value);
  json.end_object();
  return json.take();
}

/// A random type out of everything a value can have, and sometimes one that does not fit.
class RandomTypes {
 public:
  explicit RandomTypes(std::mt19937& random) : random_(random) {
    using E = btf::Builder::Encoding;
    for (const u32 size : {1u, 2u, 4u, 8u}) {
      leaves_.push_back({builder_.add_int("unsigned", size), size});
      leaves_.push_back({builder_.add_int("signed", size, E::signed_), size});
    }
    const u32 character = builder_.add_int("char", 1, E::char_);
    leaves_.push_back({builder_.add_int("bool", 1, E::bool_), 1});
    leaves_.push_back({character, 1});
    leaves_.push_back({builder_.add_pointer(0), 8});
    leaves_.push_back({builder_.add_float("double", 8), 8});
    const btf::Enumerator names[] = {{"one", 1}, {"two", 2}};
    leaves_.push_back({builder_.add_enum("some", 4, false, names), 4});
    index_ = leaves_[4].id;
    for (const u32 count : {1u, 3u, 8u}) {
      leaves_.push_back({builder_.add_array(character, index_, count), count});
      leaves_.push_back({builder_.add_array(leaves_[4].id, index_, count), 4 * count});
    }
    leaves_.push_back({builder_.add_modifier(btf::Kind::typedef_, "word", leaves_[6].id), 8});
  }

  struct Made {
    u32 id, size;
  };
  Made composite(int depth) {
    std::vector<btf::Builder::NewMember> members;
    std::vector<std::string> names(1 + random_() % 5);
    u32 offset = 0;
    for (std::size_t i = 0; i < names.size(); ++i) {
      names[i] = random_() % 8 == 0 ? "" : "member" + std::to_string(i);
      const Made made = depth > 0 && random_() % 3 == 0 ? composite(depth - 1) : leaves_[random_() % leaves_.size()];
      const bool is_field = random_() % 9 == 0;
      members.push_back({names[i], is_field ? leaves_[4].id : made.id, offset * 8, is_field ? 3u : 0u});
      offset += is_field ? 4 : made.size;
    }
    const u32 size = offset + random_() % 3;
    return {builder_.add_struct("made", size, members), size};
  }
  std::shared_ptr<const btf::Btf> build() { return builder_.build().value(); }

 private:
  std::mt19937& random_;
  btf::Builder builder_;
  std::vector<Made> leaves_;
  u32 index_ = 0;
};

TEST(EntryPrinter, WritesWhatTheWalkWrites) {
  std::mt19937 random(20261128);
  for (int round = 0; round < 2000; ++round) {
    RandomTypes made(random);
    const auto key_type = made.composite(1), value_type = made.composite(3);
    const auto types = made.build();
    MapInfo info;
    info.type = MapType::hash;
    info.key_size = key_type.size;
    info.value_size = random() % 10 == 0 ? value_type.size / 2 : value_type.size;  // sometimes too small for its type
    info.btf_key_type_id = key_type.id;
    info.btf_value_type_id = value_type.id;
    const bool pretty = random() % 2 == 0;
    EntryPrinter printer(info, types.get(), {EntryForm::plain, pretty, 1});
    for (int entry = 0; entry < 3; ++entry) {
      Bytes key(info.key_size), value(info.value_size);
      for (auto& byte : key) byte = static_cast<std::byte>(random() % 3 == 0 ? 0 : random());
      for (auto& byte : value) byte = static_cast<std::byte>(random() % 3 == 0 ? 0 : random());
      std::string text;
      printer.append(text, key, value);
      ASSERT_EQ(text, by_walking(info, *types, key, value, pretty)) << "round " << round;
    }
  }
}

TEST(EntryPrinter, WritesBytesAsBpftoolDoes) {
  MapInfo info{.type = MapType::hash, .key_size = 4, .value_size = 2};
  EntryPrinter text(info, nullptr, {EntryForm::bytes, false, 0});
  std::string out;
  text.append(out, bytes_of({1, 0, 255, 16}), bytes_of({7, 8}));
  EXPECT_EQ(out, "key: 01 00 ff 10  value: 07 08\n");
  EntryPrinter json(info, nullptr, {EntryForm::json, false, 1});
  out.clear();
  json.append(out, bytes_of({1, 0, 255, 16}), bytes_of({7, 8}));
  EXPECT_EQ(out, R"({"key":["0x01","0x00","0xff","0x10"],"value":["0x07","0x08"]})");
  out.clear();
  json.append_error(out, bytes_of({1, 0, 0, 0}), 524);
  EXPECT_EQ(out, R"({"key":["0x01","0x00","0x00","0x00"],"value":{"error":"Unknown error 524"}})");
}

TEST(EntryPrinter, WritesOneValueACpu) {
  MapInfo info{.type = MapType::percpu_array, .key_size = 1, .value_size = 2};
  const Bytes value = bytes_of({1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0});
  std::string out;
  EntryPrinter(info, nullptr, {EntryForm::bytes, false, 0}).append(out, bytes_of({9}), value);
  EXPECT_EQ(out, "key:\n09\nvalue (CPU 00): 01 02\nvalue (CPU 01): 03 04\n");
  out.clear();
  EntryPrinter(info, nullptr, {EntryForm::json, false, 1}).append(out, bytes_of({9}), value);
  EXPECT_EQ(out, R"({"key":["0x09"],"values":[{"cpu":0,"value":["0x01","0x02"]},{"cpu":1,"value":["0x03","0x04"]}]})");
}

TEST(EntryPrinter, TakesValuesOfAnySizeFromAPeer) {
  MapInfo info{.type = MapType::hash, .key_size = 1, .value_size = 4};
  EntryPrinter printer(info, nullptr, {EntryForm::json, false, 1});
  for (const std::size_t size : {0u, 1u, 4u, 100u}) {
    std::string out;
    printer.append(out, bytes_of({1}), Bytes(size));
    EXPECT_EQ(std::count(out.begin(), out.end(), 'x'), static_cast<long>(size) + 1) << out;
  }
  std::string out;
  printer.append(out, bytes_of({1, 2}), Bytes(4));  // a key of another size than the map's
  EXPECT_EQ(out, "");
}

/// A map of a peer that has other keys than it said in its list.
struct Liar final : Map::Impl {
  MapInfo facts{.type = MapType::hash, .key_size = 4, .value_size = 4};
  const MapInfo& info() const override { return facts; }
  Result<Bytes> lookup(std::span<const std::byte>) override { return Bytes(4); }
  Result<void> update(std::span<const std::byte>, std::span<const std::byte>, u64) override { return {}; }
  Result<void> erase(std::span<const std::byte>) override { return {}; }
  Result<std::optional<Bytes>> next_key(std::optional<std::span<const std::byte>> key) override {
    return key ? std::optional<Bytes>() : std::optional(Bytes(4));
  }
  Result<RingReader> open_ring() override { return fail(Code::unsupported, "no ring"); }
  Result<Bytes> take(std::span<const std::byte>) override { return Bytes(4); }
  Result<void> freeze() override { return {}; }
};

TEST(MapDump, KeysOfAnotherSizeThanTheListSaidAreRefused) {
  const Map map(std::make_shared<Liar>());
  const auto ignore = [](std::string_view) {};
  EXPECT_TRUE(dump_map(map, {.type = MapType::hash, .key_size = 4, .max_entries = 8}, nullptr, {.json = true}, ignore));
  for (const u32 said : {0u, 3u, 5u, 1u << 20}) {
    const auto dumped =
        dump_map(map, {.type = MapType::hash, .key_size = said, .max_entries = 8}, nullptr, {.json = true}, ignore);
    ASSERT_FALSE(dumped) << said;
    EXPECT_EQ(dumped.error().code, Code::malformed);
  }
}

}  // namespace
}  // namespace skep::inspect
