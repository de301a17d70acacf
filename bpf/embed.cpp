// Build tool: puts the headers that BPF programs include into one C++ file.
//
//   skep_embed OUTPUT.cpp HEADER_DIRECTORY
//
// skep must work as a single file copied to any machine, so it carries its headers. Two kinds are made here
// rather than kept as files: bpf/bpf_helper_defs.h, which is an expansion of the helper rows, and the
// <uapi/linux/X.h> names of BCC sources, each of which is <linux/X.h> outside the kernel's own tree.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "base/digest.hpp"
#include "catalog/helpers.hpp"

namespace fs = std::filesystem;

namespace {

using Headers = std::map<std::string, std::string>;

Headers read_headers(const fs::path& root) {
  Headers out;
  for (const auto& item : fs::recursive_directory_iterator(root)) {
    if (!item.is_regular_file()) continue;
    std::ifstream file(item.path(), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    out[item.path().lexically_relative(root).generic_string()] = text.str();
  }
  return out;
}

/// One constant function pointer a row: calling it compiles to `call id`.
std::string helper_defs() {
  std::ostringstream out;
  out << "/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */\n"
         "/* The helper functions by name: made from src/catalog/helpers.def, one row each. */\n"
         "#ifndef SKEP_BPF_HELPER_DEFS_H\n#define SKEP_BPF_HELPER_DEFS_H\n\n";
  Headers tags;  // only for its order: every struct that a prototype names, once
  for (const auto& row : skep::catalog::helpers())
    for (std::string_view text : {row.c_result, row.c_params})
      for (std::size_t at = text.find("struct "); at != text.npos; at = text.find("struct ", at + 1))
        if (at == 0 || text[at - 1] == ' ')
          tags[std::string(text.substr(at, std::min(text.find_first_of(" *,", at + 7), text.size()) - at))];
  for (const auto& [tag, unused] : tags) out << tag << ";\n";
  out << "\n";
  for (const auto& row : skep::catalog::helpers())
    out << "static " << row.c_result << " (*const bpf_" << row.name << ")(" << row.c_params << ") = (void *)"
        << static_cast<unsigned>(row.id) << ";\n";
  out << "\n#endif\n";
  return out.str();
}

void add_uapi_names(Headers& headers) {
  for (const char* name : {"bpf_common", "bpf_perf_event", "capability", "errno",  "fcntl",
                           "fs",         "icmp",           "icmpv6",     "if_arp", "if_ether",
                           "if_packet",  "if_vlan",        "in",         "in6",    "io_uring",
                           "ip",         "ipv6",           "limits",     "mman",   "netlink",
                           "pkt_cls",    "prctl",          "signal",     "socket", "stat",
                           "tcp",        "time",           "types",      "udp",    "un",
                           "unistd"}) {
    const std::string path = std::string("bcc/uapi/linux/") + name + ".h";
    headers.try_emplace(path, std::string("#include <linux/") + name + ".h>\n");
  }
}

void write_literal(std::ostream& out, std::string_view text) {
  // GCC takes literals of any length; pieces keep other compilers and editors content.
  constexpr std::size_t piece = 8000;
  for (std::size_t at = 0; at < text.size() || at == 0; at += piece)
    out << "R\"skep(" << text.substr(at, piece) << ")skep\"\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s OUTPUT.cpp HEADER_DIRECTORY HELPER_DEFS.h\n", argv[0]);
    return 2;
  }
  Headers headers = read_headers(argv[2]);
  headers["bpf/bpf_helper_defs.h"] = helper_defs();
  std::ofstream(argv[3], std::ios::binary) << headers["bpf/bpf_helper_defs.h"];
  add_uapi_names(headers);

  skep::base::Digest digest;
  std::ofstream out(argv[1], std::ios::binary);
  out << "// Made by bpf/embed.cpp.\n#include \"compile/headers.hpp\"\n\nnamespace skep::compile {\nnamespace {\n"
         "constexpr EmbeddedHeader headers[] = {\n";
  for (const auto& [path, text] : headers) {
    digest.field(path).field(text);
    out << "{\"" << path << "\",\n";
    write_literal(out, text);
    out << "},\n";
  }
  out << "};\n}  // namespace\nstd::span<const EmbeddedHeader> embedded_headers() noexcept { return headers; }\n"
      << "std::string_view embedded_digest() noexcept { return \"" << digest.name()
      << "\"; }\n}  // namespace skep::compile\n";
  out.close();
  if (!out) std::fprintf(stderr, "%s: cannot write %s\n", argv[0], argv[1]);
  return out ? 0 : 1;
}
