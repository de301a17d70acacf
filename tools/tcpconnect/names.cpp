// A message is a header of six numbers, the question, and records whose names may point back into the message.
#include "tcpconnect/names.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include "kit/address.hpp"

namespace skep::tools {
namespace {

constexpr u16 type_a = 1, type_aaaa = 28, class_internet = 1, is_answer = 0x8000;
constexpr std::size_t header_bytes = 12, most_name_bytes = 255, most_label_bytes = 63;
constexpr u64 ns_per_ms = 1'000'000, suspicious_ns = 100 * ns_per_ms, day_ns = 86'400'000 * ns_per_ms;

class Reader {
 public:
  explicit Reader(std::span<const std::byte> message) : message_(message) {}

  std::optional<u16> number() {
    if (at_ + 2 > message_.size()) return std::nullopt;
    const auto value = static_cast<u16>(byte(at_) << 8 | byte(at_ + 1));
    at_ += 2;
    return value;
  }
  std::optional<std::span<const std::byte>> bytes(std::size_t count) {
    if (count > message_.size() - at_) return std::nullopt;
    const auto out = message_.subspan(at_, count);
    at_ += count;
    return out;
  }
  /// Labels with dots between them. A pointer leads to an earlier place, so that each is followed once at most.
  std::optional<std::string> name() {
    std::string out;
    std::size_t at = at_, earliest = at_;
    bool has_jumped = false;
    for (;;) {
      if (at >= message_.size()) return std::nullopt;
      const unsigned length = byte(at);
      if (length > most_label_bytes) {
        if (length < 0xc0 || at + 2 > message_.size()) return std::nullopt;
        const std::size_t target = (length & 0x3fu) << 8 | byte(at + 1);
        if (!has_jumped) at_ = at + 2;
        if (target >= earliest) return std::nullopt;
        has_jumped = true;
        at = earliest = target;
        continue;
      }
      if (length == 0) break;
      if (at + 1 + length > message_.size() || out.size() + 1 + length > most_name_bytes) return std::nullopt;
      if (!out.empty()) out.push_back('.');
      out.append(reinterpret_cast<const char*>(message_.data()) + at + 1, length);
      at += 1 + length;
    }
    if (!has_jumped) at_ = at + 1;
    return out;
  }

 private:
  unsigned byte(std::size_t at) const { return std::to_integer<unsigned>(message_[at]); }
  std::span<const std::byte> message_;
  std::size_t at_ = 0;
};

/// False where the record is malformed.
bool read_record(Reader& reader, std::vector<std::string>& addresses) {
  if (!reader.name()) return false;
  const auto type = reader.number(), kind = reader.number(), ttl_high = reader.number(), ttl_low = reader.number(),
             length = reader.number();
  if (!type || !kind || !ttl_high || !ttl_low || !length) return false;
  const auto data = reader.bytes(*length);
  if (!data) return false;
  if (*kind != class_internet) return true;
  if (*type == type_a && data->size() == 4) addresses.push_back(address_text(AF_INET, data->data()));
  if (*type == type_aaaa && data->size() == 16) addresses.push_back(address_text(AF_INET6, data->data()));
  return true;
}

}  // namespace

std::optional<NamesAnswer> read_names_answer(std::span<const std::byte> message) {
  Reader reader(message);
  std::array<u16, header_bytes / 2> header{};
  for (u16& number : header) {
    const auto value = reader.number();
    if (!value) return std::nullopt;
    number = *value;
  }
  const auto [id, flags, questions, answers, authorities, more] = header;
  if ((flags & is_answer) == 0 || questions != 1 || answers == 0) return std::nullopt;
  NamesAnswer out;
  auto question = reader.name();
  if (!question || !reader.number() || !reader.number()) return std::nullopt;
  out.question = *std::move(question);
  for (unsigned i = 0; i < answers; ++i)
    if (!read_record(reader, out.addresses)) return std::nullopt;
  return out;
}

void Names::learn(std::span<const std::byte> message, u64 time_ns) {
  const auto answer = read_names_answer(message);
  if (!answer) return;
  for (const std::string& address : answer->addresses) {
    if (known_.insert_or_assign(address, Known{answer->question, time_ns}).second) order_.push_back(address);
    if (order_.size() <= most_addresses) continue;
    known_.erase(order_.front());
    order_.pop_front();
  }
}

std::string Names::query(const std::string& address, u64 time_ns) const {
  const auto found = known_.find(address);
  const u64 age = found != known_.end() && time_ns > found->second.time_ns ? time_ns - found->second.time_ns : 0;
  if (found == known_.end() || age > day_ns)
    return address == "127.0.0.1" || address == "::1" ? "localhost" : "No DNS Query";
  if (age <= suspicious_ns) return found->second.name;
  return fmt::format("{} ({:.3f}ms)", found->second.name, static_cast<double>(age) / ns_per_ms);
}

}  // namespace skep::tools
