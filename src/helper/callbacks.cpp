// Helpers that call functions of the program: bpf_loop and bpf_for_each_map_elem.
//
// The callback is machine code or bytecode, whichever tier the program is in: base::Callback knows. It stops the walk
// by returning 1, and so does anything it throws. The depth is bounded a second time here, so that a mistake of the
// verifier cannot eat the stack.
// Source: Linux 6.18, kernel/bpf/bpf_iter.c (bpf_loop), arraymap.c and hashtab.c (bpf_for_each_*).
#include <cerrno>
#include <cstddef>

#include "helper/bind.hpp"

namespace skep::helper {

namespace {

constexpr u32 most_rounds = 8u << 20;  // Linux BPF_MAX_LOOPS
constexpr u32 deepest = 8;             // Linux MAX_CALL_FRAMES
constexpr u32 largest_key = 512;       // Linux: a hash key lies on the stack (MAX_BPF_STACK)

/// Counts a callback that runs.
class Inside {
 public:
  explicit Inside(Call& call) noexcept : call_(call) { call_.callback_depth++; }
  ~Inside() { call_.callback_depth--; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Call& call_;
};

u64 word(const void* pointer) noexcept { return reinterpret_cast<u64>(pointer); }

void* opaque(Call& call) noexcept { return static_cast<base::Run*>(&call); }

}  // namespace

static s64 loop(Call& call, u32 rounds, base::Callback* callback, void* context, u64 flags) noexcept {
  if (flags != 0) return -EINVAL;
  if (rounds > most_rounds) return -E2BIG;
  if (call.callback_depth >= deepest) return -E2BIG;
  const Inside inside(call);
  u32 done = 0;
  while (done < rounds) {
    const u64 stop = (*callback)(opaque(call), done, word(context), 0, 0, 0);
    done++;
    if (stop != 0 || call.thrown) break;
  }
  return done;
}
SKEP_BIND(loop)

/// Every element once, as far as the map does not change: what the callback deletes is stepped over, what it adds may
/// or may not be seen. Never more calls than the map has room for elements.
static s64 for_each_map_elem(Call& call, Map& map, base::Callback* callback, void* context, u64 flags) noexcept {
  if (flags != 0) return -EINVAL;
  const u32 key_size = map.spec().key_size;
  if (key_size == 0 || key_size > largest_key || call.callback_depth >= deepest) return -E2BIG;
  const Inside inside(call);
  alignas(8) std::byte keys[2][largest_key];
  u32 now = 0;
  s64 called = 0;
  bool more = map.next_key(nullptr, keys[now]) == 0;
  while (more && called < map.spec().max_entries) {
    // The key after this one is asked for before the callback may delete this one.
    more = map.next_key(keys[now], keys[1 - now]) == 0;
    if (void* value = map.lookup(keys[now])) {
      called++;
      call.lent = keys[now];
      call.lent_bytes = key_size;
      if ((*callback)(opaque(call), word(&map), word(keys[now]), word(value), word(context), 0) != 0) break;
      if (call.thrown) break;
    }
    now = 1 - now;
  }
  call.lent = nullptr;
  call.lent_bytes = 0;
  return called;
}
SKEP_BIND(for_each_map_elem)

}  // namespace skep::helper
