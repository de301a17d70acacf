// See disassembler.hpp. x86-64 is written as bpftool's disassembler writes it: AT&T.
#include "disassembler.hpp"

#ifdef SKEP_HAS_CAPSTONE
#include <capstone/capstone.h>
#endif

namespace skep::tools {

#ifdef SKEP_HAS_CAPSTONE
namespace {

/// "%rax, 8(%rbx, %rcx, 4)" at the commas outside of brackets.
std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> operands;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); i++) {
    const char c = i < text.size() ? text[i] : ',';
    if (c == '(' || c == '[' || c == '{') depth++;
    if (c == ')' || c == ']' || c == '}') depth--;
    if (c != ',' || (depth > 0 && i < text.size())) continue;
    std::string_view operand = text.substr(begin, i - begin);
    while (operand.starts_with(' ')) operand.remove_prefix(1);
    if (!operand.empty()) operands.emplace_back(operand);
    begin = i + 1;
  }
  return operands;
}

class Capstone final : public Disassembler {
 public:
  explicit Capstone(csh handle, u32 least_bytes) : handle_(handle), insn_(cs_malloc(handle)), least_(least_bytes) {}
  ~Capstone() override {
    cs_free(insn_, 1);
    cs_close(&handle_);
  }
  Capstone(const Capstone&) = delete;
  Capstone& operator=(const Capstone&) = delete;

  inspect::MachineInsn operator()(std::span<const std::byte> code, u64 pc) override {
    const auto* bytes = reinterpret_cast<const uint8_t*>(code.data());
    std::size_t size = code.size();
    uint64_t address = pc;
    if (!cs_disasm_iter(handle_, &bytes, &size, &address, insn_))
      return {static_cast<u32>(std::min<std::size_t>(least_, code.size())), "(bad)", {}};
    return {insn_->size, insn_->mnemonic, split(insn_->op_str)};
  }

 private:
  csh handle_;
  cs_insn* insn_;
  u32 least_;  ///< what is passed over when it is no instruction
};

}  // namespace
#endif

Result<std::unique_ptr<Disassembler>> Disassembler::open(std::string_view machine) {
  const bool is_x86 = machine == "x86-64", is_arm = machine == "arm64";
  // The name may come from another process: it is not repeated.
  if (!is_x86 && !is_arm)
    return fail(Code::unsupported, "dump jited: this is the code of a machine that skep has no disassembler for");
#ifdef SKEP_HAS_CAPSTONE
  csh handle = 0;
  const auto opened =
      is_x86 ? cs_open(CS_ARCH_X86, CS_MODE_64, &handle) : cs_open(CS_ARCH_ARM64, CS_MODE_LITTLE_ENDIAN, &handle);
  if (opened != CS_ERR_OK)
    return fail(Code::unsupported, std::string("dump jited: Capstone does not start: ") + cs_strerror(opened));
  if (is_x86) cs_option(handle, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
  return std::make_unique<Capstone>(handle, is_x86 ? 1 : 4);
#else
  return fail(Code::unsupported,
              "dump jited: this skep was built without a disassembler; install libcapstone-dev and build it again, or "
              "write `opcodes` behind the program for the bare bytes");
#endif
}

}  // namespace skep::tools
