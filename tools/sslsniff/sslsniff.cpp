// skep sslsniff: clear text on its way into and out of TLS libraries.
#include "sslsniff/sslsniff.h"

#include <fmt/format.h>

#include <cstring>

#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view sslsniff_summary = "what programs send and receive through TLS libraries, in clear text";

namespace {

struct SniffOptions {
  bool extra = false, no_openssl = false, no_gnutls = false, no_nss = false, hexdump = false, latency = false,
       handshake = false;
  std::string comm;
  u32 most_bytes = SSL_MOST_BYTES;
  std::vector<std::string> extra_libraries;
};

struct Function {
  std::string_view library, function, enter, exit;
};
constexpr Function functions[] = {
    {"openssl", "SSL_write", "move_enter", "write_exit"},
    {"openssl", "SSL_read", "move_enter", "read_exit"},
    {"openssl", "SSL_write_ex", "move_ex_enter", "write_exit"},
    {"openssl", "SSL_read_ex", "move_ex_enter", "read_exit"},
    {"openssl", "SSL_do_handshake", "handshake_enter", "handshake_exit"},
    {"gnutls", "gnutls_record_send", "move_enter", "write_exit"},
    {"gnutls", "gnutls_record_recv", "move_enter", "read_exit"},
    {"nss", "PR_Write", "move_enter", "write_exit"},
    {"nss", "PR_Send", "move_enter", "write_exit"},
    {"nss", "PR_Read", "move_enter", "read_exit"},
    {"nss", "PR_Recv", "move_enter", "read_exit"},
};

void add_options(Kit& kit, SniffOptions& options) {
  auto& app = kit.options();
  kit.wants_pid();
  kit.wants_uid("-u,--uid");
  app.add_flag("-x,--extra", options.extra, "columns for user and thread");
  app.add_option("-c,--comm", options.comm, "only processes of this name");
  app.add_flag("-o,--no-openssl", options.no_openssl, "not OpenSSL");
  app.add_flag("-g,--no-gnutls", options.no_gnutls, "not GnuTLS");
  app.add_flag("-n,--no-nss", options.no_nss, "not NSS");
  app.add_flag("--hexdump", options.hexdump, "data as hexadecimal numbers");
  app.add_option("--max-buffer-size", options.most_bytes, "bytes of each call that are shown")
      ->check(range(1, static_cast<int>(SSL_MOST_BYTES)))
      ->capture_default_str();
  app.add_flag("-l,--latency", options.latency, "a column for the time that calls take");
  app.add_flag("--handshake", options.handshake, "handshakes, too");
  app.add_option("--extra-lib", options.extra_libraries,
                 "one more library of a kind: openssl:/path/libssl.so (repeatable)")
      ->allow_extra_args(false);
}

/// The files to set probes on, with the kind of library that each is.
Result<std::vector<std::pair<std::string, std::string>>> libraries_of(const SniffOptions& options) {
  std::vector<std::pair<std::string, std::string>> out;
  if (!options.no_openssl) out.insert(out.end(), {{"openssl", "libssl.so.3"}, {"openssl", "libssl.so.1.1"}});
  if (!options.no_gnutls) out.emplace_back("gnutls", "libgnutls.so.30");
  if (!options.no_nss) out.emplace_back("nss", "libnspr4.so");
  for (const std::string& text : options.extra_libraries) {
    const auto colon = text.find(':');
    const std::string kind = text.substr(0, colon);
    if (colon == std::string::npos || (kind != "openssl" && kind != "gnutls" && kind != "nss"))
      return fail(Code::invalid_argument,
                  fmt::format("--extra-lib {}: expected openssl:FILE, gnutls:FILE or nss:FILE", text));
    out.emplace_back(kind, text.substr(colon + 1));
  }
  return out;
}

Result<void> attach_libraries(Kit& kit, const SniffOptions& options, Object& object, std::vector<Link>& links) {
  std::string missing;
  for (const auto& [kind, file] : SKEP_TRY(libraries_of(options)))
    for (const Function& row : functions) {
      const bool is_handshake = row.enter == "handshake_enter";
      if (row.library != kind || (is_handshake && !options.handshake)) continue;
      const std::string place = fmt::format("{}:{}", file, row.function);
      auto enter = SKEP_TRY(object.program(row.enter));
      auto exit = SKEP_TRY(object.program(row.exit));
      auto back = exit.attach({.kind = AttachKind::uretprobe, .target = place, .pid = kit.pid()});
      auto there = enter.attach({.kind = AttachKind::uprobe, .target = place, .pid = kit.pid()});
      if (!back || !there) {
        missing = (back ? there : back).error().message;
        continue;
      }
      links.push_back(*std::move(back));
      links.push_back(*std::move(there));
    }
  if (links.empty()) return fail(Code::not_found, "no TLS library was found; name one with --extra-lib. " + missing);
  return {};
}

std::string hex_lines(std::string_view data) {
  std::string out;
  for (std::size_t i = 0; i < data.size(); ++i)
    out +=
        fmt::format("{:02x}{}", static_cast<unsigned char>(data[i]), i % 32 == 31 && i + 1 < data.size() ? "\n" : "");
  return out;
}

/// Lines stay lines; everything else that a terminal would obey is escaped.
void print_text(trace::Output& output, std::string_view data) {
  while (!data.empty()) {
    const auto end = std::min(data.find('\n'), data.size());
    std::string_view line = data.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    output.line(printable(line));
    data.remove_prefix(std::min(end + 1, data.size()));
  }
}

}  // namespace

int sslsniff(const Arguments& arguments) {
  Kit kit(
      {.name = "sslsniff",
       .about =
           "Shows what programs send and receive through OpenSSL, GnuTLS and NSS, before it is encrypted and after.",
       .examples = "  skep sslsniff                # of every process\n"
                   "  skep sslsniff -p 181 --hexdump\n"
                   "  skep sslsniff -c curl -x     # of processes called curl, with user and thread\n"
                   "  skep sslsniff --extra-lib openssl:/opt/app/libssl.so\n"
                   "  skep sslsniff -- curl https://example.org   # of a command, without privileges",
       .user_engine = true,
       .kernel_first = true});
  SniffOptions options;
  add_options(kit, options);
  if (auto status = kit.parse(arguments)) return *status;
  kit.set("most_bytes", options.most_bytes);
  kit.on_attach(
      [&](Object& object, std::vector<Link>& links) { return attach_libraries(kit, options, object, links); });
  Columns columns(kit.output(), {{"FUNC", "func", -12},
                                 {"TIME(s)", "time_s", -18},
                                 {"UID", "uid", -7, options.extra},
                                 {"TID", "tid", -7, options.extra},
                                 {"COMM", "comm", -16},
                                 {"PID", "pid", -7},
                                 {"LEN", "len", -6},
                                 {"LAT(ms)", "lat_ms", -7, options.latency},
                                 {"DATA", "data", 0, false}});
  kit.on_bytes("events", offsetof(ssl_event, data), [&](std::span<const std::byte> bytes) {
    static ssl_event event;
    std::memcpy(&event, bytes.data(), std::min(bytes.size(), sizeof event));
    const std::string_view data(event.data,
                                std::min<std::size_t>(event.bytes, bytes.size() - offsetof(ssl_event, data)));
    if (!options.comm.empty() && text(event.comm) != options.comm) return;
    constexpr std::array<const char*, 3> names = {"READ/RECV", "WRITE/SEND", "HANDSHAKE"};
    columns.row({names[std::min<std::size_t>(event.kind, 2)], Decimal{seconds_since_start(event.time_ns), 9}, event.uid,
                 event.tid, text(event.comm), event.pid, event.length,
                 Decimal{static_cast<double>(event.spent_ns) / 1e6, 3},
                 options.hexdump ? hex_lines(data) : std::string(data)});
    if (kit.json() || event.kind == 2) return;
    kit.output().line("----- DATA -----");
    if (options.hexdump)
      print_text(kit.output(), hex_lines(data));
    else
      print_text(kit.output(), data);
    if (static_cast<u32>(event.length) > event.bytes)
      kit.output().line(
          fmt::format("----- END DATA (TRUNCATED, {} bytes lost) -----", static_cast<u32>(event.length) - event.bytes));
    else
      kit.output().line("----- END DATA -----");
    kit.output().line("");
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
