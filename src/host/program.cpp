// Running for a host: a context, a run, one call.
//
// A run costs little beside the program: a few words on the stack, and where maps hold objects that the host may
// replace meanwhile, one ordered store (map/run.hpp).
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "helper/call.hpp"
#include "helper/local_task.hpp"
#include "helper/packet.hpp"
#include "host/data.hpp"
#include "map/run.hpp"

namespace skep::host {

namespace {

/// A run with what the host's helpers want to know.
struct HostCall : helper::Call {
  void* host = nullptr;
};

/// The thread that runs the program, as far as a program may know it: its ids and name, never the process's memory.
class HostTask final : public helper::Task {
 public:
  u64 pid_tgid() noexcept override { return local_.pid_tgid(); }
  u64 uid_gid() noexcept override { return local_.uid_gid(); }
  void comm(char (&comm)[16]) noexcept override { local_.comm(comm); }
  u32 cpu() noexcept override { return local_.cpu(); }
  s64 read_user(void*, u64, u32) noexcept override { return -EFAULT; }
  s64 write_user(u64, const void*, u32) noexcept override { return -EPERM; }
  s64 read_kernel(void*, u64, u32) noexcept override { return -EFAULT; }

 private:
  helper::LocalTask local_;
};

struct TraceLines final : helper::TraceSink {
  explicit TraceLines(const Options& o) noexcept : options(o) {}
  bool line(std::string_view text) noexcept override {
    if (options.on_trace) options.on_trace(text);
    return true;
  }
  const Options& options;
};

/// Bytes of the longest context of a packet program, in the engine's layout.
constexpr std::size_t packet_context_bytes = 512;

/// Fills a packet program's context: the pointers, and what of struct __sk_buff a host's bytes can say.
void describe(const catalog::Context& layout, std::byte* context, const PacketBuffer& packet, helper::Packet& facts) {
  std::memset(context, 0, layout.engine_size);
  const bool is_xdp = layout.fields.front().name == "data";
  facts.kind = is_xdp ? helper::Packet::Kind::xdp : helper::Packet::Kind::skb;
  facts.context = context;
  facts.first = packet.room.data();
  facts.limit = packet.room.data() + packet.room.size();
  std::byte* const begin = facts.first + packet.offset;
  facts.set_data(begin);
  facts.set_end(begin + packet.size);
  facts.set_meta(begin);
  if (is_xdp) return;
  constexpr std::size_t ethernet_bytes = 14;
  facts.mac = begin;
  facts.network = begin + std::min(ethernet_bytes, packet.size);
  helper::set_skb_number(facts, helper::skb_field::len, static_cast<u32>(packet.size));
  if (packet.size >= ethernet_bytes) {
    std::memcpy(&facts.protocol, begin + 12, sizeof facts.protocol);
    helper::set_skb_number(facts, helper::skb_field::protocol, facts.protocol);
  }
}

u64 enter(const Program::Data& program, HostCall& call, void* context) noexcept {
  HostTask task;
  TraceLines trace(program.module->options);
  call.task = &task;
  call.trace = &trace;
  call.context = context;
  if (!program.in_section) return program.function->run(call, context);
  const map::RunSection section(program.module->per_cpu ? task.cpu() : 0);
  return program.function->run(call, context);
}

}  // namespace

void* host_data(void* run) noexcept { return static_cast<HostCall*>(static_cast<base::Run*>(run))->host; }

u64 Program::run(void* context, void* host) const noexcept {
  if (data_->packet_layout != nullptr) return run_packet(std::span<std::byte>(), host);
  HostCall call;
  call.host = host;
  return enter(*data_, call, context);
}

u64 Program::run_packet(std::span<std::byte> packet, void* host) const noexcept {
  PacketBuffer whole{packet, 0, packet.size()};
  return run_packet(whole, host);
}

u64 Program::run_packet(PacketBuffer& packet, void* host) const noexcept {
  if (data_->packet_layout == nullptr) return 0;
  // A packet that does not lie in its room is a mistake of the host's; its program then sees no bytes.
  if (packet.offset > packet.room.size() || packet.size > packet.room.size() - packet.offset)
    packet = {packet.room, 0, 0};
  alignas(8) std::byte context[packet_context_bytes];
  helper::Packet facts;
  describe(*data_->packet_layout, context, packet, facts);
  HostCall call;
  call.host = host;
  call.packet = &facts;
  const u64 result = enter(*data_, call, context);
  packet.offset = static_cast<std::size_t>(facts.data() - facts.first);
  packet.size = facts.size();
  return result;
}

const std::string& Program::name() const noexcept { return data_->name; }
bool Program::takes_packet() const noexcept { return data_->packet_layout != nullptr; }
std::string_view Program::tier() const noexcept { return vm::name_of(data_->function->tier()); }

bool takes_packets(ProgramType type) noexcept {
  static_assert(sizeof(u64) == sizeof(void*));
  return type == ProgramType::xdp || type == ProgramType::sched_cls || type == ProgramType::sched_act ||
         type == ProgramType::socket_filter;
}

}  // namespace skep::host
