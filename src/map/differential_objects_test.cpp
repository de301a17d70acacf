// The kernel is the specification, continued: batch operations, taking elements out, and the maps whose values stand
// for objects. See differential_test.cpp.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <fcntl.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "map/kernel_oracle.hpp"
#include "map/map.hpp"
#include "map/run.hpp"

namespace skep::map {
namespace {

using Bytes = std::vector<std::byte>;
using oracle::KernelMap;
using oracle::make_spec;

s64 creation_error(const Result<std::shared_ptr<Map>>& made) { return made ? 0 : -made.error().os_error; }

/// What a walk with look-up batches of `room` elements finds, and what each call answered.
template <class Call>
std::map<std::string, Bytes> walk(const MapSpec& spec, u32 value_bytes, u32 room, Call call, s64& last) {
  std::map<std::string, Bytes> found;
  Bytes out(std::max(spec.key_size, 4u)), in(out.size());
  const void* from = nullptr;
  for (int calls = 0; calls < 1000; ++calls) {
    Bytes keys(u64{room} * spec.key_size), values(u64{room} * value_bytes);
    Batch batch{.in = from, .out = out.data(), .keys = keys.data(), .values = values.data(), .count = room};
    last = call(batch);
    if (last != 0 && last != -ENOENT) return found;
    for (u32 i = 0; i < batch.count; ++i)
      found[std::string(reinterpret_cast<const char*>(&keys[u64{i} * spec.key_size]), spec.key_size)] =
          Bytes(values.begin() + i * value_bytes, values.begin() + (i + 1) * value_bytes);
    if (last != 0) return found;
    in = out;
    from = in.data();
  }
  return found;
}

/// The same random batches on both sides.
void compare_batches(const MapSpec& spec, u32 different_keys) {
  SCOPED_TRACE(std::string(name_of(spec.type)) + ", value " + std::to_string(spec.value_size));
  const KernelMap kernel(spec);
  ASSERT_EQ(kernel.error, 0);
  const auto ours = *Map::create(spec);
  const u32 value_bytes = ours->host_value_size();
  std::mt19937_64 random(static_cast<u64>(spec.type) * 31 + spec.value_size);
  for (int step = 0; step < 200; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const u32 count = static_cast<u32>(random() % 6);
    Bytes keys(6 * spec.key_size), values(u64{6} * value_bytes);
    for (u32 i = 0; i < count; ++i) {
      u32 number = static_cast<u32>(random() % different_keys);
      if (spec.type == MapType::lpm_trie) {
        const u32 bits = number % 33;
        std::memcpy(&keys[i * spec.key_size], &bits, 4);
        number *= 0x01010101u;
        std::memcpy(&keys[i * spec.key_size + 4], &number, 4);
      } else {
        std::memcpy(&keys[i * spec.key_size], &number, std::min<u32>(4, spec.key_size));
      }
      const u32 stride = ours->is_per_cpu() ? (spec.value_size + 7) / 8 * 8 : spec.value_size;
      for (u32 b = 0; b < value_bytes; ++b)
        values[u64{i} * value_bytes + b] = b % stride < spec.value_size ? std::byte(random()) : std::byte{0};
    }
    constexpr u64 odd_flags[] = {0, 0, 0, 0, 1, 2, 4, 9};
    Batch a{.keys = keys.data(), .values = values.data(), .count = count, .elem_flags = odd_flags[random() % 8]};
    Batch b = a;
    if (random() % 3 != 0) {
      EXPECT_EQ(ours->update_batch(a), kernel.update_batch(b)) << "update, flags " << b.elem_flags;
    } else {
      EXPECT_EQ(ours->erase_batch(a), kernel.erase_batch(b)) << "delete, flags " << b.elem_flags;
    }
    EXPECT_EQ(a.count, b.count);
    if (testing::Test::HasFailure()) return;
  }
  s64 last = 0, kernels_last = 0;
  const u32 room = different_keys * 2;
  const auto found = walk(spec, value_bytes, room, [&](Batch& batch) { return ours->lookup_batch(batch); }, last);
  const auto kernels =
      walk(spec, value_bytes, room, [&](Batch& batch) { return kernel.lookup_batch(batch); }, kernels_last);
  EXPECT_EQ(last, kernels_last);
  EXPECT_EQ(found, kernels);
  const auto taken = walk(spec, value_bytes, room, [&](Batch& batch) { return ours->take_batch(batch); }, last);
  const auto kernels_taken =
      walk(spec, value_bytes, room, [&](Batch& batch) { return kernel.take_batch(batch); }, kernels_last);
  EXPECT_EQ(last, kernels_last);
  EXPECT_EQ(taken, kernels_taken);
  Bytes out(64), some(u64{64} * std::max(value_bytes, 64u));
  for (const u64 elem_flags : {u64{0}, u64{1}, u64{4}})
    for (const u64 flags : {u64{0}, u64{1}})
      for (const u32 count : {0u, 3u}) {
        SCOPED_TRACE("elem_flags " + std::to_string(elem_flags) + " flags " + std::to_string(flags) + " count " +
                     std::to_string(count));
        Batch a{.out = out.data(),
                .keys = some.data(),
                .values = some.data(),
                .count = count,
                .elem_flags = elem_flags,
                .flags = flags};
        Batch b = a;
        // bpf(2) itself refuses the flags of types that take no look-up flags; the map is not asked then.
        EXPECT_EQ(ours->lookup_batch(a), kernel.lookup_batch(b));
        EXPECT_EQ(a.count, b.count);
      }
}

TEST(Differential, Batches) {
  SKEP_NEEDS_BPF();
  for (const u32 value_size : {4u, 8u, 12u}) {
    compare_batches(make_spec(MapType::hash, 4, value_size, 16), 20);
    compare_batches(make_spec(MapType::hash, 4, value_size, 16, flag::no_prealloc), 20);
    compare_batches(make_spec(MapType::percpu_hash, 8, value_size, 16), 20);
    compare_batches(make_spec(MapType::lru_hash, 4, value_size, 2048), 20);
    compare_batches(make_spec(MapType::array, 4, value_size, 9), 12);
    compare_batches(make_spec(MapType::percpu_array, 4, value_size, 9), 12);
    compare_batches(make_spec(MapType::lpm_trie, 8, value_size, 16, flag::no_prealloc), 40);
  }
  for (const MapType type : {MapType::queue, MapType::stack, MapType::bloom_filter}) {
    const MapSpec spec = make_spec(type, 0, 8, 4);
    const KernelMap kernel(spec);
    const auto ours = *Map::create(spec);
    Bytes some(64);
    Batch a{.out = some.data(), .keys = some.data(), .values = some.data(), .count = 1}, b = a;
    EXPECT_EQ(ours->lookup_batch(a), kernel.lookup_batch(b));
    EXPECT_EQ(ours->take_batch(a), kernel.take_batch(b));
    EXPECT_EQ(ours->update_batch(a), kernel.update_batch(b));
    EXPECT_EQ(ours->erase_batch(a), kernel.erase_batch(b));
  }
}

TEST(Differential, ABatchWithoutRoomForABucketSaysSo) {
  const auto map = *Map::create(make_spec(MapType::hash, 4, 4, 1));  // one bucket
  u32 key = 7, value = 8, out = 0;
  ASSERT_EQ(map->update(&key, &value, 0), 0);
  Batch batch{.out = &out, .keys = &key, .values = &value, .count = 0};
  EXPECT_EQ(map->lookup_batch(batch), 0);
  batch.count = 1;
  EXPECT_EQ(map->lookup_batch(batch), -ENOENT);  // the end, with the element
  EXPECT_EQ(batch.count, 1u);
  const auto crowded = *Map::create(make_spec(MapType::hash, 4, 4, 64, flag::zero_seed));
  for (u32 i = 0; i < 64; ++i) crowded->update(&i, &i, 0);
  std::vector<u32> keys(64), values(64);
  u32 seen = 0, room = 1, from = 0;
  for (const u32* in = nullptr;; in = &from) {
    Batch step{.in = in, .out = &from, .keys = keys.data(), .values = values.data(), .count = room};
    const s64 error = crowded->take_batch(step);
    if (error == -ENOSPC) {
      ++room;
      continue;
    }
    seen += step.count;
    if (error == -ENOENT) break;
    ASSERT_EQ(error, 0);
  }
  EXPECT_EQ(seen, 64u);
  EXPECT_EQ(crowded->next_key(nullptr, &key), -ENOENT);
}

TEST(Differential, TakingOut) {
  SKEP_NEEDS_BPF();
  for (const MapSpec& spec :
       {make_spec(MapType::hash, 4, 8, 4), make_spec(MapType::percpu_hash, 4, 8, 4),
        make_spec(MapType::lru_hash, 4, 8, 64), make_spec(MapType::array, 4, 8, 4),
        make_spec(MapType::lpm_trie, 8, 8, 4, flag::no_prealloc), make_spec(MapType::queue, 0, 8, 4),
        make_spec(MapType::hash, 4, 8, 4, flag::rdonly), make_spec(MapType::hash, 4, 8, 4, flag::wronly)}) {
    SCOPED_TRACE(std::string(name_of(spec.type)) + " flags " + std::to_string(spec.flags));
    const KernelMap kernel(spec);
    ASSERT_EQ(kernel.error, 0);
    const auto ours = *Map::create(spec);
    const u32 key_words[2] = {1, 2};
    const void* key = spec.key_size > 0 ? key_words : nullptr;
    Bytes value(ours->host_value_size(), std::byte{5}), a(value.size()), b(value.size());
    EXPECT_EQ(ours->copy_update(key, value.data(), 0), kernel.update(key, value.data(), 0));
    for (const u64 flags : {u64{4}, u64{1}, u64{0}, u64{0}}) {
      const s64 error = ours->copy_take(key, a.data(), flags);
      EXPECT_EQ(error, kernel.take(key, b.data(), flags)) << flags;
      if (error == 0) {
        EXPECT_EQ(a, b);
      }
    }
    for (const u64 flags : {u64{4}, u64{1}, u64{8}})
      EXPECT_EQ(ours->copy_lookup(key, a.data(), flags), kernel.lookup_with(key, b.data(), flags)) << flags;
  }
}

TEST(Differential, CreationOfObjectMaps) {
  SKEP_NEEDS_BPF();
  constexpr MapType types[] = {MapType::stack_trace,  MapType::cgroup_array, MapType::devmap,
                               MapType::devmap_hash,  MapType::cpumap,       MapType::xskmap,
                               MapType::sockmap,      MapType::sockhash,     MapType::reuseport_sockarray,
                               MapType::user_ringbuf, MapType::task_storage, MapType::arena};
  constexpr u32 key_sizes[] = {0, 1, 4, 8, 512, 513};
  constexpr u32 value_sizes[] = {0, 4, 8, 12, 24, 32, 64, 1016, 1024, 32 * 127, 32 * 128, 65000, 70000};
  constexpr u32 entries[] = {0, 1, 3, 4096, 10000};
  u64 made = 0;
  for (const MapType type : types)
    for (const u32 key_size : key_sizes)
      for (const u32 value_size : value_sizes)
        for (const u32 max_entries : entries)
          for (int bit = -1; bit <= 18; ++bit) {
            u32 flags = bit < 0 ? 0 : 1u << bit;
            if (type == MapType::arena && bit != 2) flags |= flag::mmapable;
            if (type == MapType::task_storage && bit != 2) flags |= flag::no_prealloc;
            if (flags == flag::numa_node) continue;
            const bool completed = type == MapType::cgroup_array && (key_size == 0 || value_size == 0);
            if (completed || (type == MapType::user_ringbuf && max_entries != 0 && max_entries != 4096)) continue;
            if ((flags & 1u << 16) != 0) continue;  // a token descriptor, which is of bpf(2) alone
            const MapSpec spec = make_spec(type, key_size, value_size, max_entries, flags);
            const KernelMap kernel(spec);
            const auto ours = Map::create(spec);
            made += kernel.error == 0;
            ASSERT_EQ(creation_error(ours), kernel.error)
                << name_of(type) << " key " << key_size << " value " << value_size << " entries " << max_entries
                << " flags " << flags << (ours ? "" : ": " + ours.error().message);
          }
  EXPECT_GT(made, 100u);
}

/// Random operations on maps whose values are numbers with a meaning.
void compare_numbers(const MapSpec& spec, const std::vector<u64>& keys, const std::vector<u64>& numbers) {
  SCOPED_TRACE(std::string(name_of(spec.type)) + ", value " + std::to_string(spec.value_size));
  const KernelMap kernel(spec);
  ASSERT_EQ(kernel.error, 0);
  const auto ours = *Map::create(spec);
  std::mt19937_64 random(static_cast<u64>(spec.type));
  for (int step = 0; step < 600 && !testing::Test::HasFailure(); ++step) {
    u64 key = keys[random() % keys.size()], value = numbers[random() % numbers.size()];
    u64 a = 0, b = 0;
    const u64 flags = random() % 4 == 0 ? random() % 5 : 0;
    SCOPED_TRACE("step " + std::to_string(step) + " key " + std::to_string(key) + " value " + std::to_string(value) +
                 " flags " + std::to_string(flags));
    switch (random() % 5) {
      case 0:
      case 1:
        EXPECT_EQ(ours->copy_update(&key, &value, flags), kernel.update(&key, &value, flags)) << "update";
        break;
      case 2:
        EXPECT_EQ(ours->copy_lookup(&key, &a), kernel.lookup(&key, &b)) << "look-up";
        EXPECT_EQ(a, b);
        break;
      case 3:
        EXPECT_EQ(ours->copy_erase(&key), kernel.erase(&key)) << "delete";
        break;
      default:
        if (spec.type == MapType::devmap_hash || spec.type == MapType::sockhash) break;  // any order
        EXPECT_EQ(ours->next_key(&key, &a), kernel.next_key(&key, &b)) << "next key";
        EXPECT_EQ(a, b);
    }
  }
}

base::Fd udp_socket(bool bound, bool shared) {
  base::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  if (shared) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bound && ::bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof any) != 0) ADD_FAILURE() << "bind";
  return fd;
}

TEST(Differential, Devices) {
  SKEP_NEEDS_BPF();
  const std::vector<u64> devices = {0, 1, 99999, 1, 1};  // 1 is the loopback device
  for (const u32 value_size : {4u, 8u}) {
    compare_numbers(make_spec(MapType::devmap, 4, value_size, 3), {0, 1, 2, 3, 0xffffffff}, devices);
    compare_numbers(make_spec(MapType::devmap_hash, 4, value_size, 3), {0, 1, 2, 3, 70, 0xffffffff}, devices);
    compare_numbers(make_spec(MapType::cpumap, 4, value_size, possible_cpus() + 2),
                    {0, 1, 2, 3, possible_cpus() + 1, 0xffffffff}, {0, 1, 16384, 16385, 192});
  }
}

TEST(Differential, Sockets) {
  SKEP_NEEDS_BPF();
  const base::Fd bound = udp_socket(true, false), loose = udp_socket(false, false),
                 raw(::socket(AF_INET, SOCK_STREAM, 0));
  base::Fd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::listen(listening.get(), 1), 0);
  const base::Fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::vector<u64> fds = {static_cast<u64>(bound.get()),     static_cast<u64>(loose.get()), static_cast<u64>(raw.get()),
                          static_cast<u64>(listening.get()), static_cast<u64>(file.get()),  9999};
  compare_numbers(make_spec(MapType::xskmap, 4, 4, 3), {0, 1, 2, 3}, fds);
  for (const u32 value_size : {4u, 8u}) {
    if (value_size == 8) fds.push_back(u64{1} << 40);
    compare_numbers(make_spec(MapType::sockmap, 4, value_size, 3), {0, 1, 2, 3, 0xffffffff}, fds);
    compare_numbers(make_spec(MapType::sockhash, 8, value_size, 3), {0, 1, 2, 3, 70}, fds);
  }
}

TEST(Differential, SocketsThatShareAPort) {
  SKEP_NEEDS_BPF();
  // A socket is in one array at a time, so the kernel's map and ours get sockets of their own, in the same states.
  const MapSpec spec = make_spec(MapType::reuseport_sockarray, 4, 8, 3);
  const KernelMap kernel(spec);
  ASSERT_EQ(kernel.error, 0);
  const auto ours = *Map::create(spec);
  struct Case {
    u32 index;
    bool bound, shared;
    u64 flags;
  };
  std::vector<base::Fd> open;
  for (const auto& [index, bound, shared, flags] :
       {Case{0, true, true, 0}, Case{0, true, true, 1}, Case{1, true, true, 2}, Case{1, false, true, 0},
        Case{1, true, false, 0}, Case{3, true, true, 0}, Case{2, true, true, 0}, Case{2, true, true, 7}}) {
    open.push_back(udp_socket(bound, shared));
    const u64 a = static_cast<u64>(open.back().get());
    open.push_back(udp_socket(bound, shared));
    const u64 b = static_cast<u64>(open.back().get());
    EXPECT_EQ(ours->copy_update(&index, &a, flags), kernel.update(&index, &b, flags)) << index;
  }
  u32 index = 1;
  const u64 again_a = static_cast<u64>(open[0].get()), again_b = static_cast<u64>(open[1].get());
  EXPECT_EQ(ours->copy_update(&index, &again_a, 0), kernel.update(&index, &again_b, 0));  // -EBUSY: it is at 0
  for (index = 0; index < 4; ++index) {
    u64 a = 0, b = 0;
    EXPECT_EQ(ours->copy_lookup(&index, &a), kernel.lookup(&index, &b)) << index;
    EXPECT_EQ(a != 0, b != 0);
    EXPECT_EQ(ours->copy_erase(&index), kernel.erase(&index)) << index;
    EXPECT_EQ(ours->copy_erase(&index), kernel.erase(&index)) << index;
  }
}

TEST(Differential, ControlGroups) {
  SKEP_NEEDS_BPF();
  const base::Fd root(::open("/sys/fs/cgroup", O_RDONLY | O_CLOEXEC)), file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  compare_numbers(make_spec(MapType::cgroup_array, 4, 4, 2), {0, 1, 2, 0xffffffff},
                  {static_cast<u64>(root.get()), static_cast<u64>(file.get()), 9999});
}

TEST(Differential, Tasks) {
  SKEP_NEEDS_BPF();
  const base::Fd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  ASSERT_TRUE(self);
  const base::Fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  compare_numbers(make_spec(MapType::task_storage, 4, 8, 0, flag::no_prealloc),
                  {static_cast<u64>(self.get()), static_cast<u64>(self.get()), static_cast<u64>(file.get()), 9999},
                  {1, 2, 3});
}

TEST(Differential, MapsThatTheHostOnlyReads) {
  SKEP_NEEDS_BPF();
  for (const MapSpec& spec : {make_spec(MapType::stack_trace, 4, 64, 4), make_spec(MapType::user_ringbuf, 0, 0, 4096),
                              make_spec(MapType::arena, 0, 0, 4, flag::mmapable)}) {
    SCOPED_TRACE(name_of(spec.type));
    const KernelMap kernel(spec);
    ASSERT_EQ(kernel.error, 0);
    const auto ours = *Map::create(spec);
    for (const u32 index : {0u, 3u, 4u}) {
      u32 next = 0, kernels_next = 0;
      u64 value[8] = {};
      const void* key = spec.key_size > 0 ? &index : nullptr;
      EXPECT_EQ(ours->copy_lookup(key, value), kernel.lookup(key, value)) << index;
      EXPECT_EQ(ours->copy_update(key, value, 0), kernel.update(key, value, 0)) << index;
      EXPECT_EQ(ours->copy_erase(key), kernel.erase(key)) << index;
      EXPECT_EQ(ours->copy_take(key, value, 0), kernel.take(key, value, 0)) << index;
      EXPECT_EQ(ours->next_key(key, &next), kernel.next_key(key, &kernels_next)) << index;
      EXPECT_EQ(next, kernels_next);
    }
  }
}

}  // namespace
}  // namespace skep::map
