// See disassembler.hpp. x86-64 is written as bpftool's disassembler writes it: AT&T.
//
// Capstone's tables are 1.8 MB of pointers, which the dynamic linker would write at every start of skep (about 1 ms and
// 4 MB). So the library is opened when the first program is disassembled.
#include "disassembler.hpp"

#ifdef SKEP_HAS_CAPSTONE
#include <capstone/capstone.h>
#include <dlfcn.h>
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

#define SKEP_TEXT_OF(number) #number
#define SKEP_LIBRARY(major) "libcapstone.so." SKEP_TEXT_OF(major)
constexpr const char* library_name = SKEP_LIBRARY(CS_API_MAJOR);
#undef SKEP_LIBRARY
#undef SKEP_TEXT_OF

/// The functions of the library that are used. It stays open.
struct Library {
  decltype(&cs_open) open = nullptr;
  decltype(&cs_close) close = nullptr;
  decltype(&cs_option) option = nullptr;
  decltype(&cs_malloc) make_insn = nullptr;
  decltype(&cs_free) free_insn = nullptr;
  decltype(&cs_disasm_iter) next = nullptr;
  decltype(&cs_strerror) error_text = nullptr;
  bool is_complete = false;

  Library() {
    void* const opened = ::dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) return;
    is_complete = true;
    const auto find = [&]<class F>(F& function, const char* name) {
      function = reinterpret_cast<F>(::dlsym(opened, name));
      is_complete = is_complete && function != nullptr;
    };
    find(open, "cs_open");
    find(close, "cs_close");
    find(option, "cs_option");
    find(make_insn, "cs_malloc");
    find(free_insn, "cs_free");
    find(next, "cs_disasm_iter");
    find(error_text, "cs_strerror");
  }
};
const Library& library() {
  static const Library opened;
  return opened;
}

class Capstone final : public Disassembler {
 public:
  explicit Capstone(csh handle, u32 least_bytes)
      : handle_(handle), insn_(library().make_insn(handle)), least_(least_bytes) {}
  ~Capstone() override {
    library().free_insn(insn_, 1);
    library().close(&handle_);
  }
  Capstone(const Capstone&) = delete;
  Capstone& operator=(const Capstone&) = delete;

  inspect::MachineInsn operator()(std::span<const std::byte> code, u64 pc) override {
    const auto* bytes = reinterpret_cast<const uint8_t*>(code.data());
    std::size_t size = code.size();
    uint64_t address = pc;
    if (!library().next(handle_, &bytes, &size, &address, insn_))
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
  if (!library().is_complete)
    return fail(Code::unsupported, std::string("dump jited: ") + library_name +
                                       " is not installed, which disassembles (package libcapstone4); write `opcodes` "
                                       "behind the program for the bare bytes");
  csh handle = 0;
  const auto opened = is_x86 ? library().open(CS_ARCH_X86, CS_MODE_64, &handle)
                             : library().open(CS_ARCH_ARM64, CS_MODE_LITTLE_ENDIAN, &handle);
  if (opened != CS_ERR_OK)
    return fail(Code::unsupported, std::string("dump jited: Capstone does not start: ") + library().error_text(opened));
  if (is_x86) library().option(handle, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
  return std::make_unique<Capstone>(handle, is_x86 ? 1 : 4);
#else
  return fail(Code::unsupported,
              "dump jited: this skep was built without a disassembler; install libcapstone-dev and build it again, or "
              "write `opcodes` behind the program for the bare bytes");
#endif
}

}  // namespace skep::tools
