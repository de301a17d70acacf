// The kernel's string functions against C's, on the program's own memory; and where they stop.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <string>

#include "helper/call.hpp"
#include "helper/kfuncs.hpp"
#include "map/map.hpp"

namespace skep::helper {
namespace {

/// Two strings in a map value: memory that a program has.
class Strings : public testing::Test {
 protected:
  static constexpr u32 room = 70000;
  void SetUp() override {
    MapSpec spec;
    spec.name = "text";
    spec.type = MapType::array;
    spec.key_size = 4;
    spec.value_size = 2 * room;
    spec.max_entries = 1;
    auto made = map::Map::create(spec);
    ASSERT_TRUE(made) << made.error().message;
    map_ = *made;
    first_ = static_cast<char*>(map_->direct_value());
    second_ = first_ + room;
  }
  s32 call(std::string_view name, u64 a1, u64 a2 = 0, u64 a3 = 0) {
    const map::RunSection section(0);
    Call own;
    const auto body = kfunc(name);
    EXPECT_NE(body, nullptr) << name;
    return body != nullptr ? static_cast<s32>(body(static_cast<base::Run*>(&own), a1, a2, a3, 0, 0)) : -1000;
  }
  void set(const std::string& a, const std::string& b) {
    std::memcpy(first_, a.c_str(), a.size() + 1);
    std::memcpy(second_, b.c_str(), b.size() + 1);
  }
  u64 first() const { return reinterpret_cast<u64>(first_); }
  u64 second() const { return reinterpret_cast<u64>(second_); }

  std::shared_ptr<map::Map> map_;
  char *first_ = nullptr, *second_ = nullptr;
};

s32 place(const char* found, const char* text) { return found != nullptr ? static_cast<s32>(found - text) : -ENOENT; }
s32 sign(int number) { return number < 0 ? -1 : number > 0 ? 1 : 0; }

TEST_F(Strings, AgreeWithC) {
  std::mt19937 random(20261128);
  const auto text = [&](u32 most) {
    std::string made(random() % (most + 1), 'a');
    for (char& c : made) c = static_cast<char>("abAB"[random() % 4]);
    return made;
  };
  for (int round = 0; round < 20000; ++round) {
    const std::string a = text(round % 100 == 0 ? 300 : 9), b = text(4);
    set(a, b);
    const char wanted = static_cast<char>("abAB\0"[random() % 5]);
    const u64 most = random() % 12, byte = static_cast<u8>(wanted);
    const char *s = a.c_str(), *t = b.c_str();
    ASSERT_EQ(call("bpf_strcmp", first(), second()), sign(std::strcmp(s, t))) << a << " " << b;
    ASSERT_EQ(call("bpf_strcasecmp", first(), second()), sign(::strcasecmp(s, t))) << a << " " << b;
    ASSERT_EQ(call("bpf_strlen", first()), static_cast<s32>(a.size()));
    ASSERT_EQ(call("bpf_strnlen", first(), most), static_cast<s32>(::strnlen(s, most)));
    ASSERT_EQ(call("bpf_strchr", first(), byte), place(std::strchr(s, wanted), s));
    ASSERT_EQ(call("bpf_strrchr", first(), byte), place(std::strrchr(s, wanted), s));
    ASSERT_EQ(call("bpf_strchrnul", first(), byte), static_cast<s32>(::strchrnul(s, wanted) - s));
    const auto* within = static_cast<const char*>(std::memchr(s, wanted, std::min<u64>(most, a.size() + 1)));
    ASSERT_EQ(call("bpf_strnchr", first(), most, byte), place(within, s)) << a << " " << most << " " << byte;
    ASSERT_EQ(call("bpf_strspn", first(), second()), static_cast<s32>(std::strspn(s, t)));
    ASSERT_EQ(call("bpf_strcspn", first(), second()), static_cast<s32>(std::strcspn(s, t)));
    ASSERT_EQ(call("bpf_strstr", first(), second()), place(std::strstr(s, t), s)) << a << " " << b;
    const std::string cut = a.substr(0, most);
    const auto found = cut.find(b);
    ASSERT_EQ(call("bpf_strnstr", first(), second(), most),
              found != std::string::npos ? static_cast<s32>(found) : -ENOENT)
        << a << " " << b << " " << most;
  }
}

TEST_F(Strings, StopAtTheLimitAndAtTheEndOfMemory) {
  std::memset(first_, 'x', 2 * room);  // no end anywhere
  EXPECT_EQ(call("bpf_strlen", first()), -E2BIG);
  EXPECT_EQ(call("bpf_strnlen", first(), 65535), 65535);
  EXPECT_EQ(call("bpf_strnlen", first(), 1 << 20), -E2BIG);
  EXPECT_EQ(call("bpf_strchr", first(), 'y'), -E2BIG);
  EXPECT_EQ(call("bpf_strnchr", first(), 5, 'y'), -ENOENT);
  EXPECT_EQ(call("bpf_strcmp", first(), second()), -E2BIG);
  EXPECT_EQ(call("bpf_strlen", 0), -ERANGE);
  EXPECT_EQ(call("bpf_strcmp", first(), 0), -ERANGE);
  EXPECT_EQ(call("bpf_strlen", 1u << 20), -EFAULT);  // nobody's
  // The mapping ends on a page; a string that ends with it is read, one that does not is a fault.
  const u64 end = (first() + 2 * room + 4095) / 4096 * 4096;
  auto* last = reinterpret_cast<char*>(end - 3);
  std::memcpy(last, "ab", 3);
  EXPECT_EQ(call("bpf_strlen", end - 3), 2);
}

}  // namespace
}  // namespace skep::helper
