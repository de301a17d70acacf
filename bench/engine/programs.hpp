// The program set: what there is, its input, and each program built for this machine and for eBPF.
//
// A program is one C file in bench/programs. The native side is a shared object made by the host's compiler (-O2), so
// that nothing of it can be folded into the harness; the eBPF side an object made by clang.
#pragma once
#include <array>
#include <filesystem>
#include <memory>
#include <skep/spec.hpp>
#include <string>
#include <vector>

namespace skep::bench {

/// One of the set. `headline`: of the seventeen compute programs whose means are compared with other engines.
struct Row {
  const char* name;
  bool headline;
};
std::span<const Row> rows();

inline constexpr u32 input_words = 128, random_words = 64, frame_bytes = 64, frames = 16;

/// What every program gets: `words` in its global array, `packet` as its packet.
struct Input {
  std::array<u64, input_words> words;
  std::vector<std::byte> packet;
};
Input make_input();

/// The native context of bench/programs/native.h.
struct NativeContext {
  std::byte* data;
  std::byte* data_end;
};
using NativeFn = int (*)(NativeContext*);

/// A shared object with the native program; closed when it goes.
class Native {
 public:
  /// Errors: not_found (no compiler), invalid_argument (the compiler's message).
  static Result<Native> build(const std::string& name, const std::string& compiler,
                              const std::filesystem::path& scratch, const Input& input);
  NativeFn function() const { return function_; }

 private:
  struct Close {
    void operator()(void* handle) const;
  };
  std::unique_ptr<void, Close> library_;
  NativeFn function_ = nullptr;
};

/// The newest clang in PATH, else gcc: a path. `$SKEP_BENCH_CC` names another.
Result<std::string> native_compiler();

/// The program as an eBPF object; `cpu` is "v3" or "v4".
Result<ObjectSpec> bpf_object(const std::string& name, const std::string& cpu);

}  // namespace skep::bench
