// Bodies of dynptrs. See dynptr.hpp.
//
// What a slice or bpf_dynptr_data() hands out is lent to a checked run, so that the loop sees where it ends.
// Source: Linux 6.18, kernel/bpf/helpers.c, kernel/bpf/ringbuf.c and net/core/filter.c: order of checks and numbers.
#include "helper/dynptr.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include "helper/bind.hpp"
#include "helper/kfuncs.hpp"
#include "helper/packet.hpp"
#include "map/ringbuf.hpp"
#include "map/user_ringbuf.hpp"

namespace skep::helper {

namespace {

using Over = Dynptr::Over;

bool is_packet(const Dynptr& dynptr) noexcept {
  return dynptr.over == static_cast<u32>(Over::skb) || dynptr.over == static_cast<u32>(Over::xdp);
}
PacketBytes packet_of(const Dynptr& dynptr) noexcept {
  return {dynptr.data, dynptr.over == static_cast<u32>(Over::xdp) ? Packet::Kind::xdp : Packet::Kind::skb};
}

}  // namespace

std::byte* Dynptr::bytes(u32 at, u64 length) const noexcept {
  if (data == nullptr || !holds(at, length)) return nullptr;
  if (!is_packet(*this)) return data + offset + at;
  return packet_of(*this).at(u64{offset} + at, length);
}

s64 Dynptr::read(std::byte* to, u64 length, u32 at, u64 flags) const noexcept {
  if (data == nullptr || flags != 0) return -EINVAL;
  if (!holds(at, length)) return -E2BIG;
  if (is_packet(*this)) return packet_of(*this).load(offset + at, to, length);
  std::memmove(to, data + offset + at, length);  // both may be the same memory
  return 0;
}

s64 Dynptr::write(u32 at, const std::byte* from, u64 length, u64 flags) const noexcept {
  if (data == nullptr || read_only != 0) return -EINVAL;
  if (!holds(at, length)) return -E2BIG;
  if (over == static_cast<u32>(Over::skb)) return packet_of(*this).store(offset + at, from, length, flags);
  if (flags != 0) return -EINVAL;
  if (is_packet(*this)) return packet_of(*this).store(offset + at, from, length, 0);
  std::memmove(data + offset + at, from, length);
  return 0;
}

// --- helpers ---

static s64 dynptr_from_mem(void* data, u32 size, u64 flags, Dynptr* made) noexcept {
  *made = {};
  if (size > Dynptr::most_bytes) return -E2BIG;
  if (flags != 0) return -EINVAL;
  *made = Dynptr::of(Over::memory, data, size);
  return 0;
}
SKEP_BIND(dynptr_from_mem)

static s64 dynptr_read(void* to, u32 length, const Dynptr* from, u32 offset, u64 flags) noexcept {
  return from->read(static_cast<std::byte*>(to), length, offset, flags);
}
SKEP_BIND(dynptr_read)

static s64 dynptr_write(const Dynptr* to, u32 offset, void* from, u32 length, u64 flags) noexcept {
  return to->write(offset, static_cast<const std::byte*>(from), length, flags);
}
SKEP_BIND(dynptr_write)

/// Packets have slices instead, which may be asked for with a buffer.
static void* dynptr_data(Call& call, const Dynptr* from, u32 offset, u32 length) noexcept {
  if (from->data == nullptr || from->read_only != 0 || is_packet(*from)) return nullptr;
  std::byte* bytes = from->bytes(offset, length);
  call.lend(bytes, length, true);
  return bytes;
}
SKEP_BIND(dynptr_data)

static s64 ringbuf_reserve_dynptr(Map& ring, u32 size, u64 flags, Dynptr* made) noexcept {
  *made = {};
  if (flags != 0) return -EINVAL;
  if (size > Dynptr::most_bytes) return -E2BIG;
  void* record = map::ringbuf_reserve(ring, size, 0);
  if (record == nullptr) return -EINVAL;
  *made = Dynptr::of(Over::record, record, size);
  return 0;
}
SKEP_BIND(ringbuf_reserve_dynptr)

/// A dynptr without a record, which a full ring left, ends without doing anything.
static void ringbuf_submit_dynptr(Call& call, Dynptr* record, u64 flags) noexcept {
  if (record->data == nullptr) return;
  call.take_back(record->data);
  map::ringbuf_submit(record->data, flags);
  *record = {};
}
SKEP_BIND(ringbuf_submit_dynptr)

static void ringbuf_discard_dynptr(Call& call, Dynptr* record, u64 flags) noexcept {
  if (record->data == nullptr) return;
  call.take_back(record->data);
  map::ringbuf_discard(record->data, flags);
  *record = {};
}
SKEP_BIND(ringbuf_discard_dynptr)

/// Each record as a dynptr over the ring's own memory.
static s64 user_ringbuf_drain(Call& call, Map& ring, base::Callback* callback, void* context, u64 flags) noexcept {
  constexpr u32 deepest = 8;  // Linux MAX_CALL_FRAMES
  if (call.callback_depth >= deepest) return -E2BIG;
  struct Drain {
    Call& call;
    base::Callback* callback;
    void* context;
  } drain{call, callback, context};
  const auto on_record = [](void* self, const std::byte* data, u32 size) noexcept -> s64 {
    auto& to = *static_cast<Drain*>(self);
    // The program has promised to read only; the memory is the ring's, which it may not write either way.
    const Dynptr record = Dynptr::of(Over::memory, const_cast<std::byte*>(data), size, false);
    const auto word = [](const void* pointer) { return reinterpret_cast<u64>(pointer); };
    const u64 stop = (*to.callback)(static_cast<base::Run*>(&to.call), word(&record), word(to.context), 0, 0, 0);
    to.call.take_back(data);
    return to.call.thrown ? 1 : static_cast<s64>(stop);
  };
  call.callback_depth++;
  const s64 count = map::user_ring_drain(ring, on_record, &drain, flags);
  call.callback_depth--;
  return count;
}
SKEP_BIND(user_ringbuf_drain)

// --- kernel functions ---

namespace {

Call& call_of(void* run) noexcept { return *static_cast<Call*>(static_cast<base::Run*>(run)); }
Dynptr& at(u64 address) noexcept { return *reinterpret_cast<Dynptr*>(address); }
std::byte* memory(u64 address) noexcept { return reinterpret_cast<std::byte*>(address); }
u64 word(const void* pointer) noexcept { return reinterpret_cast<u64>(pointer); }
u64 error(s64 number) noexcept { return static_cast<u64>(number); }

template <Over over, bool read_only>
u64 from_packet(void*, u64 context, u64 flags, u64 made, u64, u64) noexcept {
  at(made) = {};
  if (flags != 0) return error(-EINVAL);
  const PacketBytes packet{memory(context), over == Over::xdp ? Packet::Kind::xdp : Packet::Kind::skb};
  at(made) = Dynptr::of(over, memory(context), packet.size() < Dynptr::most_bytes ? packet.size() : Dynptr::most_bytes,
                        read_only);
  return 0;
}

/// Packets here lie in one piece, so a buffer is never needed to put one together.
u64 slice(void* run, u64 dynptr, u64 offset, u64, u64 size, u64) noexcept {
  const u32 length = static_cast<u32>(size);
  std::byte* bytes = at(dynptr).bytes(static_cast<u32>(offset), length);
  call_of(run).lend(bytes, length, false);
  return word(bytes);
}

u64 slice_rdwr(void* run, u64 dynptr, u64 offset, u64, u64 size, u64) noexcept {
  if (at(dynptr).read_only != 0) return 0;
  const u32 length = static_cast<u32>(size);
  std::byte* bytes = at(dynptr).bytes(static_cast<u32>(offset), length);
  call_of(run).lend(bytes, length, true);
  return word(bytes);
}

u64 adjust(void*, u64 dynptr, u64 start, u64 end, u64, u64) noexcept {
  Dynptr& window = at(dynptr);
  const u32 first = static_cast<u32>(start), last = static_cast<u32>(end);
  if (window.data == nullptr || first > last) return error(-EINVAL);
  if (first > window.size || last > window.size) return error(-ERANGE);
  window.offset += first;
  window.size = (last - first) & Dynptr::most_bytes;
  return 0;
}

u64 is_null(void*, u64 dynptr, u64, u64, u64, u64) noexcept { return at(dynptr).data == nullptr; }

u64 is_rdonly(void*, u64 dynptr, u64, u64, u64, u64) noexcept {
  return at(dynptr).data != nullptr && at(dynptr).read_only != 0;
}

/// A __u32, of which -EINVAL is one as well.
u64 size_of(void*, u64 dynptr, u64, u64, u64, u64) noexcept {
  return at(dynptr).data != nullptr ? at(dynptr).size : static_cast<u32>(-EINVAL);
}

u64 clone(void*, u64 dynptr, u64 made, u64, u64, u64) noexcept {
  at(made) = at(dynptr).data != nullptr ? at(dynptr) : Dynptr{};
  return at(made).data != nullptr ? 0 : error(-EINVAL);
}

u64 copy(void*, u64 to, u64 to_offset, u64 from, u64 from_offset, u64 size) noexcept {
  const Dynptr &target = at(to), &source = at(from);
  const u32 target_at = static_cast<u32>(to_offset), source_at = static_cast<u32>(from_offset),
            length = static_cast<u32>(size);
  std::byte* source_bytes = source.bytes(source_at, length);
  std::byte* target_bytes = target.read_only != 0 ? nullptr : target.bytes(target_at, length);
  if (source_bytes != nullptr && target_bytes != nullptr) {
    std::memmove(target_bytes, source_bytes, length);
    return 0;
  }
  if (source_bytes != nullptr) return error(target.write(target_at, source_bytes, length, 0));
  if (target_bytes != nullptr) return error(source.read(target_bytes, length, source_at, 0));
  if (!target.holds(target_at, length) || !source.holds(source_at, length)) return error(-E2BIG);
  return length == 0 ? 0 : error(-EFAULT);  // a packet that shrank
}

u64 fill(void*, u64 dynptr, u64 offset, u64 size, u64 value, u64) noexcept {
  const Dynptr& target = at(dynptr);
  const u32 first = static_cast<u32>(offset), length = static_cast<u32>(size);
  if (target.read_only != 0) return error(-EINVAL);
  if (!target.holds(first, length)) return error(-E2BIG);
  std::byte* bytes = target.bytes(first, length);
  if (bytes == nullptr) return length == 0 ? 0 : error(-EINVAL);
  std::memset(bytes, static_cast<u8>(value), length);
  return 0;
}

constexpr KfuncRow rows[] = {
    {"bpf_dynptr_from_skb", from_packet<Over::skb, true>},
    {"bpf_dynptr_from_xdp", from_packet<Over::xdp, false>},
    {"bpf_dynptr_slice", slice},
    {"bpf_dynptr_slice_rdwr", slice_rdwr},
    {"bpf_dynptr_adjust", adjust},
    {"bpf_dynptr_is_null", is_null},
    {"bpf_dynptr_is_rdonly", is_rdonly},
    {"bpf_dynptr_size", size_of},
    {"bpf_dynptr_clone", clone},
    {"bpf_dynptr_copy", copy},
    {"bpf_dynptr_memset", fill},
};

/// Whose packets may be written. Source: Linux 6.18, may_access_direct_pkt_data.
bool writes_packets(ProgramType type) noexcept {
  switch (type) {
    case ProgramType::sched_cls:
    case ProgramType::sched_act:
    case ProgramType::xdp:
    case ProgramType::lwt_xmit:
    case ProgramType::sk_skb:
    case ProgramType::sk_msg:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::span<const KfuncRow> dynptr_kfuncs() noexcept { return rows; }

base::HelperFn kfunc_for(std::string_view name, ProgramType type) noexcept {
  const base::HelperFn body = kfunc(name);
  return body == &from_packet<Over::skb, true> && writes_packets(type) ? &from_packet<Over::skb, false> : body;
}

}  // namespace skep::helper
