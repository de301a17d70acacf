// Machine code as text, by Capstone. Only the tool needs it: libskep has no such dependency.
#pragma once
#include <memory>
#include <skep/result.hpp>
#include <string_view>

#include "inspect/dump.hpp"

namespace skep::tools {

class Disassembler {
 public:
  /// `machine`: "x86-64" or "arm64". Errors: unsupported (another machine; built without Capstone).
  static Result<std::unique_ptr<Disassembler>> open(std::string_view machine);
  virtual ~Disassembler() = default;
  virtual inspect::MachineInsn operator()(std::span<const std::byte> code, u64 pc) = 0;
};

}  // namespace skep::tools
