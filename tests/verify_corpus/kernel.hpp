// The running kernel's verdicts. Programs are loaded and closed again; nothing is attached.
#pragma once
#include <map>
#include <optional>
#include <skep/spec.hpp>
#include <string>

#include "base/fd.hpp"

namespace skep::corpus {

class Kernel {
 public:
  /// Whether this process may load programs.
  bool is_open();
  /// nullopt: it was not asked (maps that cannot be made here, callbacks: Linux 6.18's own verifier dereferences null
  /// on some random ones).
  std::optional<bool> accepts(const ObjectSpec& object, const ProgramSpec& program);
  /// "" when the kernel accepts; else the last sentence of its log, numbers as they are. nullopt: it was not asked, or
  /// does not say why. Takes as long as two verdicts.
  std::optional<std::string> refusal(const ObjectSpec& object, const ProgramSpec& program);

 private:
  /// The instructions with this process's maps in them; nullopt: not to be asked.
  std::optional<std::vector<Insn>> linked(const ObjectSpec& object, const ProgramSpec& program);
  int map_fd(const MapSpec& spec);
  std::map<std::string, base::Fd> maps_;
};

}  // namespace skep::corpus
