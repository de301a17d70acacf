// Packets and contexts for programs that are run by hand. See test_run.hpp.
//
// The context of a packet program is the UAPI structure followed by the engine's 64-bit slots for its packet
// pointers (catalog/contexts.hpp); the slots are found by the kind of their row, so this file knows no offsets of
// them. After the run they say where the packet is now.
#include "user/test_run.hpp"

#include <linux/bpf.h>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "catalog/contexts.hpp"
#include "helper/local_task.hpp"
#include "helper/packet.hpp"
#include "map/run.hpp"

namespace skep::user {

namespace {

constexpr u32 ethernet_bytes = 14;

// An XDP packet lies in one page: 256 bytes before it, of which the first hold a struct xdp_frame, and a struct
// skb_shared_info behind it.
constexpr u32 xdp_headroom_bytes = 256, xdp_frame_bytes = 40, xdp_page_bytes = 4096, shared_info_bytes = 320;
// An skb may grow to 16064 bytes at either end, and helpers move it when one end has no room left.
constexpr u32 skb_headroom_bytes = 512, skb_room_bytes = 40 << 10;

/// One context in the engine's layout and, for packet programs, the packet it points to.
struct Frame {
  const catalog::Context* layout = nullptr;
  std::vector<u64> context;       ///< words, so that it is aligned
  std::vector<std::byte> packet;  ///< with the room around it, or what a context's pointers lead to
  helper::Packet facts;           ///< of `packet`
  bool has_packet = false;

  std::byte* bytes() { return reinterpret_cast<std::byte*>(context.data()); }
  std::size_t size() const { return context.size() * sizeof(u64); }
};

Error wrong_input(std::string message) { return Error{Code::invalid_argument, "test run: " + std::move(message)}; }

/// Room for the context: what the program touches, and the engine's whole structure where it has one.
Result<Frame> make_frame(const vm::Function& function, const TestRun& run) {
  Frame frame;
  frame.layout = catalog::context_of(function.program().type());
  const u32 touched = function.program().context_bytes();
  if (run.context.size() > max_test_context_bytes)
    return tl::unexpected<Error>(wrong_input("the context has " + std::to_string(run.context.size()) +
                                             " bytes, at most " + std::to_string(max_test_context_bytes) +
                                             " are taken"));
  std::size_t size = std::max<std::size_t>(touched, run.context.size());
  if (frame.layout != nullptr) size = std::max<std::size_t>(size, frame.layout->engine_size);
  frame.context.assign(size / sizeof(u64) + 1, 0);
  if (!run.context.empty()) std::memcpy(frame.bytes(), run.context.data(), run.context.size());
  return frame;
}

/// This process as the task of a run by hand, with one difference: programs that are run by hand change maps and
/// their packet, never the process that runs them.
class TestTask final : public helper::Task {
 public:
  explicit TestTask(std::span<const std::byte> readable) : local_(readable) {}
  u64 pid_tgid() noexcept override { return local_.pid_tgid(); }
  u64 uid_gid() noexcept override { return local_.uid_gid(); }
  void comm(char (&comm)[16]) noexcept override { local_.comm(comm); }
  u32 cpu() noexcept override { return local_.cpu(); }
  s64 read_user(void* to, u64 address, u32 size) noexcept override { return local_.read_user(to, address, size); }
  s64 write_user(u64, const void*, u32) noexcept override { return -EPERM; }
  s64 read_kernel(void* to, u64 address, u32 size) noexcept override { return local_.read_kernel(to, address, size); }

 private:
  helper::LocalTask local_;
};

/// The context and the packet of a checked run, and what its caller allows.
class FrameGuard final : public vm::MemoryGuard {
 public:
  FrameGuard(Frame& frame, vm::MemoryGuard* others) : frame_(frame), others_(others) {}
  bool allows(u64 address, u32 size, bool write) noexcept override {
    if (inside(address, size, frame_.bytes(), frame_.size())) return true;
    if (inside(address, size, frame_.packet.data(), frame_.packet.size())) return true;
    return others_ != nullptr && others_->allows(address, size, write);
  }
  bool is_watching() const noexcept override { return others_ != nullptr && others_->is_watching(); }
  std::string look(const vm::Machine& machine) override { return others_->look(machine); }

 private:
  static bool inside(u64 address, u32 size, const std::byte* begin, std::size_t length) {
    const u64 offset = address - reinterpret_cast<u64>(begin);
    return offset <= length && size <= length - offset;
  }
  Frame& frame_;
  vm::MemoryGuard* others_;
};

/// What machine code with checks may touch without asking the guard: what the caller says, context and packet. The
/// packet's buffer stays the same when helpers move the packet.
std::vector<vm::MemoryRegion> regions_of(Frame& frame, const Checks* checks) {
  if (checks == nullptr || checks->regions == nullptr) return {};
  std::vector<vm::MemoryRegion> regions{{reinterpret_cast<u64>(frame.bytes()), frame.size()}};
  if (!frame.packet.empty()) regions.push_back({reinterpret_cast<u64>(frame.packet.data()), frame.packet.size()});
  regions.insert(regions.end(), checks->regions->begin(), checks->regions->end());
  return regions;
}

/// r0 and the mean duration of `repeat` runs.
Result<TestRunResult> run_repeatedly(const vm::Function& function, Frame& frame, u32 repeat, helper::TraceSink* trace,
                                     const Checks* checks) {
  TestTask task(std::span(frame.bytes(), frame.size()));
  helper::Call call;
  call.task = &task;
  call.trace = trace;
  call.context = frame.bytes();
  call.packet = frame.has_packet ? &frame.facts : nullptr;
  repeat = std::max<u32>(repeat, 1);
  TestRunResult result;
  FrameGuard guard(frame, checks != nullptr ? checks->memory : nullptr);
  const auto regions = regions_of(frame, checks);
  vm::CheckedInput input;
  input.r1 = reinterpret_cast<u64>(frame.bytes());
  input.regions = regions;
  input.guard = &guard;
  input.run = &call;
  if (checks != nullptr) input.max_insns = checks->max_insns;
  const auto start = std::chrono::steady_clock::now();
  for (u32 i = 0; i < repeat; ++i) {
    const map::RunSection section(task.cpu());
    if (checks == nullptr)
      result.result = function.run(call, frame.bytes());
    else if (checks->regions == nullptr)
      result.result = SKEP_TRY(function.run_checked(call, frame.bytes(), guard, checks->max_insns));
    else
      result.result = SKEP_TRY(vm::run_checked_code(function, input));
  }
  const auto spent = std::chrono::steady_clock::now() - start;
  result.duration_ns = static_cast<u64>(std::chrono::nanoseconds(spent).count()) / repeat;
  return result;
}

/// struct bpf_sock, or the larger struct bpf_tcp_sock.
constexpr std::size_t socket_bytes = 128;

bool is_pointer(const catalog::ContextField& field) {
  using catalog::Field;
  return field.size == sizeof(u64) &&
         (field.kind == Field::packet || field.kind == Field::packet_end || field.kind == Field::socket ||
          field.kind == Field::socket_or_null || field.kind == Field::sock_common_or_null);
}

bool has_pointers(const catalog::Context* layout) {
  return layout != nullptr && std::ranges::any_of(layout->fields, is_pointer);
}

bool takes_data(const catalog::Context* layout) {
  return layout != nullptr && std::ranges::any_of(layout->fields, [](const catalog::ContextField& field) {
           return is_pointer(field) && field.kind == catalog::Field::packet;
         });
}

/// The pointers of a context, whatever the caller has put there: to the data that was given, and to a socket all of
/// whose fields are zero. Sockets that may be missing are.
void place_pointers(Frame& frame, const TestRun& run) {
  using catalog::Field;
  if (!has_pointers(frame.layout)) return;
  frame.packet.assign(socket_bytes, std::byte{0});
  frame.packet.insert(frame.packet.end(), run.data.begin(), run.data.end());
  const std::byte* const data = frame.packet.data() + socket_bytes;
  for (const catalog::ContextField& field : frame.layout->fields) {
    if (!is_pointer(field)) continue;
    const std::byte* to = field.kind == Field::packet       ? data
                          : field.kind == Field::packet_end ? data + run.data.size()
                          : field.kind == Field::socket     ? frame.packet.data()
                                                            : nullptr;
    std::memcpy(frame.bytes() + field.offset, &to, sizeof to);
  }
}

Result<TestRunResult> run_context(const vm::Function& function, const TestRun& run, helper::TraceSink* trace,
                                  const Checks* checks) {
  const catalog::Context* const layout = catalog::context_of(function.program().type());
  if (!run.data.empty() && !takes_data(layout))
    return tl::unexpected<Error>(wrong_input("programs of type " + std::string(name_of(function.program().type())) +
                                             " take a context, not a packet"));
  if (run.data.size() > max_test_packet_bytes)
    return tl::unexpected<Error>(wrong_input("the data has " + std::to_string(run.data.size()) + " bytes, at most " +
                                             std::to_string(max_test_packet_bytes) + " are taken"));
  const u32 touched = function.program().context_bytes();
  // Pointers, which are ours to give, stand at the end: what is not said up to them is zero.
  if (!run.context.empty() && run.context.size() < touched && !has_pointers(layout))
    return tl::unexpected<Error>(wrong_input("the context has " + std::to_string(run.context.size()) +
                                             " bytes, the program reads " + std::to_string(touched)));
  auto frame = SKEP_TRY(make_frame(function, run));
  place_pointers(frame, run);
  auto result = SKEP_TRY(run_repeatedly(function, frame, run.repeat, trace, checks));
  if (takes_data(layout)) result.data.assign(frame.packet.begin() + socket_bytes, frame.packet.end());
  if (!frame.packet.empty())
    for (const catalog::ContextField& field : layout->fields)
      if (is_pointer(field)) std::memset(frame.bytes() + field.offset, 0, field.size);  // nobody else's business
  const std::size_t size = std::max<std::size_t>(run.context.size(), touched);
  result.context.assign(frame.bytes(), frame.bytes() + size);
  return result;
}

/// The protocol that eth_type_trans() reads from an Ethernet header, in network order.
u16 protocol_of(std::span<const std::byte> packet) {
  constexpr u16 least_protocol = 0x600, ieee_802_3 = 0x0100, ieee_802_2 = 0x0400;  // the latter two as in the packet
  u16 protocol, service = 0;
  std::memcpy(&protocol, packet.data() + 12, sizeof protocol);
  if (static_cast<u16>(protocol << 8 | protocol >> 8) >= least_protocol) return protocol;
  if (packet.size() >= ethernet_bytes + sizeof service)
    std::memcpy(&service, packet.data() + ethernet_bytes, sizeof service);
  return service == 0xffff ? ieee_802_3 : ieee_802_2;
}

/// What the kernel's receive path would have written into the structure for this packet on the loopback device.
void describe_packet(__sk_buff& skb, std::span<const std::byte> packet, std::size_t visible_bytes) {
  constexpr u32 loopback = 1;
  constexpr u8 broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, nobody[6] = {};
  skb.len = static_cast<u32>(visible_bytes);
  skb.protocol = protocol_of(packet);
  constexpr u32 host = 0, to_all = 1, to_many = 2, other_host = 3;  // PACKET_HOST and following
  const auto* to = reinterpret_cast<const u8*>(packet.data());
  if (std::equal(broadcast, broadcast + 6, to))
    skb.pkt_type = to_all;
  else if ((to[0] & 1) != 0)
    skb.pkt_type = to_many;
  else
    skb.pkt_type = std::equal(nobody, nobody + 6, to) ? host : other_host;
  if (skb.ifindex == 0) skb.ifindex = loopback;
  if (skb.wire_len == 0) skb.wire_len = skb.len;
}

/// Puts the packet into a buffer with room around it and tells the context where it is.
void place_packet(Frame& frame, const TestRun& run, bool is_xdp, bool sees_ethernet, u32 metadata) {
  const std::size_t size = run.data.size();
  helper::Packet& facts = frame.facts;
  frame.has_packet = true;
  facts.kind = is_xdp ? helper::Packet::Kind::xdp : helper::Packet::Kind::skb;
  facts.context = frame.bytes();
  // Metadata comes first in the data and lies in the headroom.
  const std::size_t before = is_xdp ? xdp_headroom_bytes - metadata : skb_headroom_bytes;
  const std::size_t page = std::max<std::size_t>(xdp_page_bytes, before + size + shared_info_bytes);
  frame.packet.assign(is_xdp ? page : before + size + skb_room_bytes, std::byte{0});
  std::byte* start = frame.packet.data() + before;
  std::memcpy(start, run.data.data(), size);
  facts.first = frame.packet.data() + (is_xdp ? xdp_frame_bytes : 0);
  facts.limit = frame.packet.data() + frame.packet.size() - (is_xdp ? shared_info_bytes : 0);
  facts.set_data(start + (is_xdp ? metadata : sees_ethernet ? 0 : ethernet_bytes));
  facts.set_meta(is_xdp ? start : facts.data());
  facts.set_end(start + size);
  if (is_xdp) return;
  facts.mac = start;
  facts.network = start + ethernet_bytes;
  facts.protocol = protocol_of(run.data);
  describe_packet(*reinterpret_cast<__sk_buff*>(frame.bytes()), run.data, facts.size());
}

/// XDP: an xdp_md that comes with the packet may say how many of its first bytes are metadata.
Result<u32> metadata_bytes(const TestRun& run) {
  if (run.context.empty()) return 0u;
  xdp_md given{};
  std::memcpy(&given, run.context.data(), std::min(run.context.size(), sizeof given));
  if (given.data == 0 && given.data_end == 0 && given.data_meta == 0) return 0u;
  constexpr u32 most_metadata = 32;
  if (given.data_meta != 0 || given.data_end != run.data.size() || given.data > given.data_end ||
      given.data > most_metadata || given.data % 4 != 0)
    return tl::unexpected<Error>(
        wrong_input("an xdp_md says data_meta = 0, data = the metadata's size (a multiple of 4, at most 32) and "
                    "data_end = the size of metadata and packet"));
  return given.data;
}

Result<TestRunResult> run_packet(const vm::Function& function, const TestRun& run, helper::TraceSink* trace,
                                 const Checks* checks) {
  const ProgramType type = function.program().type();
  const bool is_xdp = type == ProgramType::xdp;
  // The kernel takes the Ethernet header off before anybody but XDP and traffic control sees the packet.
  const bool sees_ethernet = is_xdp || type == ProgramType::sched_cls || type == ProgramType::sched_act;
  // The kernel makes no skb that says IP and holds no such header.
  u32 least = ethernet_bytes;
  if (!is_xdp && run.data.size() >= ethernet_bytes) {
    constexpr u16 ipv4 = 0x0008, ipv6 = 0xdd86;  // as they stand in the packet
    const u16 protocol = protocol_of(run.data);
    least += protocol == ipv4 ? 20 : protocol == ipv6 ? 40 : 0;
  }
  if (run.data.size() < least || run.data.size() > max_test_packet_bytes)
    return tl::unexpected<Error>(wrong_input("the packet has " + std::to_string(run.data.size()) + " bytes, expected " +
                                             std::to_string(least) + " (its headers) to " +
                                             std::to_string(max_test_packet_bytes)));
  auto frame = SKEP_TRY(make_frame(function, run));
  if (frame.layout == nullptr || run.context.size() > frame.layout->size)
    return tl::unexpected<Error>(wrong_input("the context is larger than the program type's structure"));
  const u32 metadata = is_xdp ? SKEP_TRY(metadata_bytes(run)) : 0;
  place_packet(frame, run, is_xdp, sees_ethernet, metadata);

  auto result = SKEP_TRY(run_repeatedly(function, frame, run.repeat, trace, checks));

  const std::byte* first = is_xdp ? frame.facts.meta() : frame.facts.data();
  if (!sees_ethernet) result.data.resize(ethernet_bytes);
  result.data.insert(result.data.end(), first, static_cast<const std::byte*>(frame.facts.end()));
  if (is_xdp) {
    auto& md = *reinterpret_cast<xdp_md*>(frame.bytes());
    md.data_meta = 0;
    md.data = static_cast<u32>(frame.facts.data() - first);
    md.data_end = static_cast<u32>(frame.facts.end() - first);
  }
  result.context.assign(frame.bytes(), frame.bytes() + frame.layout->size);
  return result;
}

}  // namespace

Result<TestRunResult> test_run(const vm::Function& function, const TestRun& run, helper::TraceSink* trace,
                               const Checks* checks) {
  const ProgramType type = function.program().type();
  switch (type) {
    case ProgramType::xdp:
    case ProgramType::sched_cls:
    case ProgramType::sched_act:
    case ProgramType::socket_filter:
    case ProgramType::cgroup_skb:
    case ProgramType::lwt_in:
    case ProgramType::lwt_out:
    case ProgramType::lwt_xmit:
      return run_packet(function, run, trace, checks);
    case ProgramType::tracepoint:
    case ProgramType::kprobe:
    case ProgramType::raw_tracepoint:
    case ProgramType::raw_tracepoint_writable:
    case ProgramType::perf_event:
    case ProgramType::syscall:
    case ProgramType::cgroup_device:
    case ProgramType::cgroup_sock:
    case ProgramType::cgroup_sock_addr:
    case ProgramType::cgroup_sockopt:
    case ProgramType::cgroup_sysctl:
    case ProgramType::sock_ops:
    case ProgramType::sk_msg:
    case ProgramType::sk_lookup:
    case ProgramType::sk_reuseport:
      return run_context(function, run, trace, checks);
    default:
      return fail(Code::unsupported, "test run: the user engine has no " + std::string(name_of(type)) +
                                         " programs to run by hand: they are given objects of the kernel's; use "
                                         "--backend kernel");
  }
}

}  // namespace skep::user
