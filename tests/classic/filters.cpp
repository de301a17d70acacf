// See filters.hpp. The kernel side is a pair of datagram sockets; the user side is the path of every program:
// translate, verify, link, run.
#include "filters.hpp"

#include <fmt/format.h>
#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "catalog/contexts.hpp"
#include "helper/call.hpp"
#include "helper/helpers.hpp"
#include "helper/load_packet.hpp"
#include "user/prepare.hpp"
#include "vm/function.hpp"

namespace skep::classic_test {

Result<KernelFilter> KernelFilter::attach(const Filter& filter) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) != 0) return fail(Code::io, "socketpair", errno);
  KernelFilter made(pair[0], pair[1]);
  sock_fprog program{static_cast<unsigned short>(filter.size()),
                     reinterpret_cast<sock_filter*>(const_cast<spec::ClassicInsn*>(filter.data()))};
  if (::setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    return fail(Code::rejected, "SO_ATTACH_FILTER", errno);
  return made;
}

KernelFilter::KernelFilter(KernelFilter&& other) noexcept
    : in_(std::exchange(other.in_, -1)), out_(std::exchange(other.out_, -1)) {}

KernelFilter::~KernelFilter() {
  if (in_ >= 0) ::close(in_);
  if (out_ >= 0) ::close(out_);
}

Result<u32> KernelFilter::run(const Packet& packet) {
  if (::send(in_, packet.data(), packet.size(), MSG_DONTWAIT) < 0 && errno != EPERM)
    return fail(Code::io, fmt::format("send: {}", strerrorname_np(errno)), errno);
  std::byte buffer[4096];
  const ssize_t got = ::recv(out_, buffer, sizeof buffer, MSG_DONTWAIT);
  if (got < 0 && errno != EAGAIN) return fail(Code::io, fmt::format("recv: {}", strerrorname_np(errno)), errno);
  return got < 0 ? 0u : static_cast<u32>(got);
}

struct UserFilter::Data {
  std::shared_ptr<const vm::Function> function;
  const catalog::Context* layout = nullptr;
};

Result<UserFilter> UserFilter::make(const Filter& filter, ProgramType type) {
  spec::ClassicOptions options;
  options.type = type;
  if (type == ProgramType::xdp) options.verdicts = spec::ClassicOptions::Verdicts{2, 1};
  const auto object = SKEP_TRY(spec::classic_object(filter, options));
  const auto outcome = SKEP_TRY(verify::verify(object.programs[0], object, user::engine_rules()));
  if (!outcome.program) return fail(Code::rejected, verify::explain(outcome.report, object.programs[0]));
  vm::Bindings bindings;
  bindings.helpers = helper::table();
  bindings.load_packet = helper::load_packet;
  auto data = std::make_shared<Data>();
  data->function = SKEP_TRY(vm::Function::link(*outcome.program, bindings));
  data->layout = catalog::context_of(type);
  UserFilter made;
  made.data_ = std::move(data);
  return made;
}

u32 UserFilter::run(Packet packet) const {
  std::vector<u64> context(data_->layout->engine_size / sizeof(u64) + 1);
  auto* bytes = reinterpret_cast<std::byte*>(context.data());
  for (const auto& field : data_->layout->fields) {
    const auto length = static_cast<u32>(packet.size());
    if (field.name == "len") std::memcpy(bytes + field.offset, &length, sizeof length);
    if (field.native < 0) continue;
    const std::byte* at = packet.data() + (field.kind == catalog::Field::packet_end ? packet.size() : 0);
    std::memcpy(bytes + field.native, &at, sizeof at);
  }
  helper::Call call;
  call.context = context.data();
  return static_cast<u32>(data_->function->run(call, context.data()));
}

Result<Filter> compile_expression(const std::string& expression) {
  const std::string command = "tcpdump -y EN10MB -ddd '" + expression + "' 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return fail(Code::not_found, "no shell");
  std::string text;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, got);
  const int status = ::pclose(pipe);
  if (status != 0)
    return fail(text.find("not found") != text.npos ? Code::not_found : Code::invalid_argument,
                expression + ": " + text);
  // Without a capture device tcpdump says so in a line of its own first.
  while (!text.empty() && (text.front() < '0' || text.front() > '9')) text.erase(0, text.find('\n') + 1);
  return spec::parse_classic(text);
}

namespace {

u32 below(std::mt19937_64& random, u32 limit) { return static_cast<u32>(random() % limit); }

/// A number that filters use: small, a power of two, an EtherType, anything. Not 2^20 and more: a load at minus that
/// many bytes means the network header to the kernel (SKF_NET_OFF), which our packets do not mark.
u32 random_number(std::mt19937_64& random) {
  switch (below(random, 5)) {
    case 0:
      return below(random, 16);
    case 1:
      return 1u << below(random, 20);
    case 2:
      return 0x800;
    case 3:
      return below(random, 256);
    default:
      return static_cast<u32>(random());
  }
}

}  // namespace

Filter random_filter(std::mt19937_64& random, u32 packet_bytes) {
  const u32 count = 3 + below(random, 40);
  Filter filter;
  // The scratch words that may be read later are written first.
  const u32 scratch = below(random, 4);
  for (u32 i = 0; i < scratch; ++i) {
    filter.push_back({0x01, 0, 0, random_number(random)});  // ldx #k
    filter.push_back({0x03, 0, 0, i});                      // stx M[i]
  }
  const auto offset = [&] {
    return below(random, 12) == 0 ? random_number(random) & 0xffff : below(random, packet_bytes + 2);
  };
  constexpr u16 sizes[] = {0x00, 0x08, 0x10};
  constexpr u16 operations[] = {0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0};
  constexpr u32 ancillary[] = {0, 4, 20, 24, 40, 44, 48};
  const u32 first = static_cast<u32>(filter.size());
  for (u32 i = first; i < first + count; ++i) {
    const u32 left = first + count - i;  // instructions behind this one, the final returns included
    switch (below(random, 12)) {
      case 0:
        filter.push_back({static_cast<u16>(0x20 | sizes[below(random, 3)]), 0, 0, offset()});
        break;
      case 1:
        filter.push_back({static_cast<u16>(0x40 | sizes[below(random, 3)]), 0, 0, offset()});
        break;
      case 2:
        filter.push_back({0xb1, 0, 0, offset()});
        break;
      case 3:
        filter.push_back({static_cast<u16>(below(random, 2)), 0, 0, random_number(random)});
        break;
      case 4:
        filter.push_back({static_cast<u16>(0x80 + below(random, 2)), 0, 0, 0});
        break;
      case 5:
        if (scratch == 0)
          filter.push_back({0x87, 0, 0, 0});
        else
          filter.push_back({static_cast<u16>(below(random, 2) == 0 ? 0x60 : 0x61), 0, 0, below(random, scratch)});
        break;
      case 6:
        filter.push_back({static_cast<u16>(2 + below(random, 2)), 0, 0, below(random, 16)});
        break;
      case 7:
        filter.push_back({static_cast<u16>(below(random, 2) == 0 ? 0x07 : 0x87), 0, 0, 0});
        break;
      case 8:
        filter.push_back({0x20, 0, 0, 0xfffff000u + ancillary[below(random, 7)]});
        break;
      case 9:
      case 10: {
        const u16 operation = operations[below(random, 10)];
        const bool by_x = below(random, 2) == 0;
        u32 k = random_number(random);
        if (operation == 0x60 || operation == 0x70) k &= 31;
        if ((operation == 0x30 || operation == 0x90) && k == 0) k = 3;
        if (below(random, 16) == 0)
          filter.push_back({0x84, 0, 0, 0});
        else
          filter.push_back({static_cast<u16>(0x04 | operation | (by_x ? 8 : 0)), 0, 0, by_x ? 0 : k});
        break;
      }
      default: {
        const auto hop = [&] { return static_cast<u8>(below(random, std::min<u32>(left, 6))); };
        const u16 test = static_cast<u16>(0x05 | ((1 + below(random, 4)) << 4) | (below(random, 2) == 0 ? 8 : 0));
        if (below(random, 8) == 0)
          filter.push_back({0x05, 0, 0, hop()});
        else
          filter.push_back({test, hop(), hop(), random_number(random)});
      }
    }
  }
  filter.push_back({0x16, 0, 0, 0});
  return filter;
}

std::vector<Packet> sample_packets() {
  std::mt19937_64 random(7);
  std::vector<Packet> packets;
  constexpr u32 types[] = {0x0800, 0x86dd, 0x0806, 0x8100};
  constexpr u8 protocols[] = {6, 17, 1, 58};
  for (u32 i = 0; i < 48; ++i) {
    Packet packet(64 + below(random, 64));
    for (auto& byte : packet) byte = static_cast<std::byte>(below(random, 8) == 0 ? random() : 0);
    u32 at = 12;
    const auto put = [&](u32 value, u32 bytes) {
      while (bytes-- > 0) packet[at++] = static_cast<std::byte>(value >> 8 * bytes);
    };
    const u32 type = types[i % 4];
    put(type, 2);
    if (type == 0x8100) put(i, 2), put(0x0800, 2);
    if (type == 0x0800 || type == 0x8100) {
      put(i % 5 == 0 ? 0x46 : 0x45, 1), put(0, 1), put(static_cast<u32>(packet.size()) - at, 2), put(i, 2);
      put(i % 7 == 6 ? 0x2001 : 0, 2), put(64, 1), put(protocols[i / 4 % 4], 1), put(0, 2);
      put(i % 3 == 0 ? 0x0a000001 : 0xc0a80001, 4), put(i % 2 == 0 ? 0x0a000002 : 0xc0a80102, 4);
      if (i % 5 == 0) put(0, 4);
      put(i % 2 == 0 ? 80 : 12345, 2), put(i % 3 == 0 ? 53 : 443, 2);
    } else if (type == 0x86dd) {
      put(0x60000000, 4), put(24, 2), put(protocols[i / 4 % 4], 1), put(64, 1);
    }
    if (i % 11 == 10) packet.resize(15 + below(random, 30));
    packets.push_back(std::move(packet));
  }
  return packets;
}

}  // namespace skep::classic_test
