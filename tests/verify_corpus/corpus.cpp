// Reading compressed lines, judging cases.
#include "corpus.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "btf/btf.hpp"

namespace skep::corpus {

verify::Options kernel_rules() {
  verify::Options options;
  options.rules = verify::Rules::kernel;
  options.possible_cpus = static_cast<u32>(sysconf(_SC_NPROCESSORS_CONF));
  if (auto types = btf::Btf::from_file("/sys/kernel/btf/vmlinux")) options.kernel_types = *types;
  return options;
}

std::string folder() {
  if (const char* chosen = std::getenv("SKEP_CORPUS")) return chosen;
  for (const char* place : {"../shared/corpus", "shared/corpus"})
    if (std::filesystem::exists(place)) return place;
  return {};
}

std::vector<std::string> lines_of_xz(const std::string& path) {
  std::vector<std::string> lines;
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(("xz -dc '" + path + "'").c_str(), "r"), pclose);
  if (!pipe) return lines;
  std::string text;
  char buffer[65536];
  for (std::size_t n; (n = fread(buffer, 1, sizeof buffer, pipe.get())) > 0;) text.append(buffer, n);
  for (std::size_t at = 0; at < text.size();) {
    auto end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    if (end > at) lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::vector<Insn> insns_from_hex(std::string_view hex) {
  auto digit = [](char c) { return static_cast<u8>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::vector<Insn> insns(hex.size() / 16);
  for (std::size_t i = 0; i < insns.size(); i++) {
    u8 bytes[8];
    for (std::size_t b = 0; b < 8; b++)
      bytes[b] = static_cast<u8>(digit(hex[i * 16 + b * 2]) << 4 | digit(hex[i * 16 + b * 2 + 1]));
    __builtin_memcpy(&insns[i], bytes, 8);
  }
  return insns;
}

Tally judge(const std::vector<Case>& cases, const verify::Options& options) {
  Tally tally;
  verify::Options case_options = options;
  for (const Case& c : cases) {
    case_options.unprivileged = c.unprivileged;
    auto outcome = verify::verify(c.program, c.object, case_options);
    if (!outcome) {
      tally.errors++;
      tally.rejected_names.push_back(c.name + " | error: " + outcome.error().message);
      continue;
    }
    const verify::Report& report = outcome->report;
    if (report.accepted && c.kernel_accepts) {
      tally.accepted++;
      tally.insns += report.insns_processed;
      tally.time_ns += report.time_ns;
      tally.kernel_insns += c.kernel_insns;
      tally.kernel_time_us += c.kernel_time_us;
      tally.counts.push_back({c.name, report.insns_processed, c.kernel_insns});
    } else if (!report.accepted && !c.kernel_accepts) {
      tally.rejected++;
    } else if (report.accepted) {
      tally.wrongly_accepted++;
      tally.accepted_names.push_back(c.name + " | " + c.kernel_message);
    } else {
      bool unsupported = report.rejection->id.starts_with("unsupported");
      (unsupported ? tally.unsupported : tally.wrongly_rejected)++;
      tally.rejected_names.push_back(fmt::format("{} | {} @{}: {}", c.name, report.rejection->id,
                                                 report.rejection->insn, report.rejection->reason));
    }
  }
  return tally;
}

std::string Tally::text(std::string_view title) const {
  u32 kernel_accepts = accepted + wrongly_rejected + unsupported + errors, kernel_rejects = rejected + wrongly_accepted;
  u32 near = 0, exact = 0;
  for (const Count& c : counts) near += c.is_near(), exact += c.ours == c.kernels;
  auto percent = [&](u32 part) { return counts.empty() ? 100.0 : 100.0 * part / static_cast<double>(counts.size()); };
  return fmt::format(
      "{}: kernel accepts {}: we accept {} ({:.1f} %), refuse {}, do not support {}, errors {}; kernel rejects {}: we "
      "refuse {}, accept {}\n"
      "  accepted by both: {} instructions processed (kernel {}), {:.3f} s (kernel {:.3f} s), {:.3f} us per "
      "instruction (kernel {:.3f})\n"
      "  as many instructions as the kernel: {} of {} ({:.1f} %), within a tenth {} ({:.1f} %)\n",
      title, kernel_accepts, accepted, kernel_accepts ? 100.0 * accepted / kernel_accepts : 100.0, wrongly_rejected,
      unsupported, errors, kernel_rejects, rejected, wrongly_accepted, insns, kernel_insns,
      static_cast<double>(time_ns) / 1e9, static_cast<double>(kernel_time_us) / 1e6,
      insns ? static_cast<double>(time_ns) / 1e3 / static_cast<double>(insns) : 0,
      kernel_insns ? static_cast<double>(kernel_time_us) / static_cast<double>(kernel_insns) : 0, exact, counts.size(),
      percent(exact), near, percent(near));
}

}  // namespace skep::corpus
