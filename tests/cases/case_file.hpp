// A .case file: several small programs in assembly, each with what should come of it.
//
//     ;! run                         begins a case; `;! run raw` skips the verifier
//     ;! name shifts mask their count
//     ;! data counters 00112233      a global data map with these bytes: `r1 = map[counters][0]+0`
//     ;! map counts hash 4 8 16      a map: type, key and value bytes, entries; `r1 = map[counts]`
//     ;! packet 0011223344...        what an XDP or socket filter program sees (at least 14 bytes), 64 zeros unless
//     said
//     ;! memory 11223344             raw only: r1 = address, r2 = length
//     ;! type xdp                    program type, socket_filter unless said
//     ;! kernel 6.15                 older kernels do not know these instructions
//     ;! except kernel: why          leaves one engine out, with the reason
//     r0 = 1
//     exit
//     ;= result 0x1                  r0, all 64 bits
//
// `;! reject ID` instead of `;! run` expects our verifier to refuse with that message id, and the kernel to refuse
// too. With --bless the runner rewrites `;= result` and the ID from what the engines (agreeing) say.
#pragma once
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <string>
#include <utility>
#include <vector>

namespace skep::cases {

struct Case {
  std::string name;
  std::size_t first_line = 0;  ///< 0-based, of the `;! run` or `;! reject`
  std::size_t end_line = 0;    ///< one past the last line
  bool raw = false;
  bool expects_rejection = false;
  std::string rejection;      ///< message id, "" until blessed
  std::optional<u64> result;  ///< none until blessed
  ProgramType type = ProgramType::socket_filter;
  std::vector<MapSpec> maps;
  std::vector<std::byte> packet = std::vector<std::byte>(64);
  std::vector<std::byte> memory;
  std::pair<int, int> kernel{0, 0};
  std::vector<std::pair<std::string, std::string>> except;  ///< engine, reason
  std::string assembly;

  /// Why `engine` leaves this case out, or nullptr.
  const std::string* left_out_by(std::string_view engine) const;
};

struct CaseFile {
  std::string path;
  std::vector<std::string> lines;
  std::vector<Case> cases;

  /// Errors: malformed, "path:line: ...".
  static Result<CaseFile> read(const std::string& path);
  /// Puts the expectations of `cases` into the lines and writes the file.
  Result<void> write_blessed();
};

}  // namespace skep::cases
