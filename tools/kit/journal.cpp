// A field is a line NAME=value; a value with line ends in it comes behind its length instead.
#include "kit/journal.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace skep::tools {
namespace {

constexpr std::string_view journal_socket = "/run/systemd/journal/socket";

}  // namespace

std::string journal_entry(std::span<const Journal::Field> fields) {
  std::string out;
  for (const Journal::Field& field : fields) {
    out += field.name;
    if (field.value.find('\n') == std::string::npos) {
      out += "=" + field.value;
    } else {
      out.push_back('\n');
      for (unsigned shift = 0; shift < 64; shift += 8)
        out.push_back(static_cast<char>(u64{field.value.size()} >> shift));
      out += field.value;
    }
    out.push_back('\n');
  }
  return out;
}

Result<Journal> Journal::open() {
  base::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(journal_socket.begin(), journal_socket.end(), address.sun_path);
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    return fail(Code::not_found,
                fmt::format("no journal listens at {} ({}): it takes a running systemd-journald", journal_socket,
                            std::strerror(error)),
                error);
  }
  return Journal(std::move(socket));
}

Result<void> Journal::send(std::span<const Field> fields) {
  const std::string entry = journal_entry(fields);
  if (::send(socket_.get(), entry.data(), entry.size(), MSG_NOSIGNAL) >= 0) return {};
  const int error = errno;
  return fail(Code::io, fmt::format("the journal takes no entry any more: {}", std::strerror(error)), error);
}

}  // namespace skep::tools
