// C in, object out: clang as a subprocess, with a cache in front, and both dialects of BPF C.
//
//   auto spec = SKEP_TRY(skep::compile::load_program("hello.bpf.c"));   // or hello.bpf.o
//
// The compiler is the system's clang (14 or newer); headers come with skep and are written to the cache
// once. Objects are kept under a name made of everything that went into them, so that the second start
// costs a few file reads and no compiler. A source without SEC() is taken for BCC's dialect
// (bpf/include/skep/bcc.h), any other for libbpf's.
#pragma once
#include <filesystem>
#include <functional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep::compile {

enum class Dialect : u8 {
  automatic,  ///< decided by the source: bcc when it has no SEC() and no libbpf header
  bcc,
  libbpf,
};

struct CompileOptions {
  std::vector<std::string> cflags;  ///< added after skep's own, so they win
  std::filesystem::path cache_dir;  ///< empty: $XDG_CACHE_HOME/skep, ~/.cache/skep or a private directory in TMPDIR
  bool use_cache = true;            ///< false: always run clang, and keep nothing but the headers
  Dialect dialect = Dialect::automatic;
  std::string cpu = "v3";  ///< -mcpu: v1 to v4
  std::string arch;        ///< whose registers PT_REGS_* read: "x86", "arm64"; empty: this machine's
  /// Told what load_program() has no place for in its result: clang's warnings, skep's notes. May be empty.
  std::function<void(std::string_view)> on_warning;
};

struct Compiled {
  std::vector<std::byte> object;  ///< the ELF bytes
  std::filesystem::path path;     ///< where the cache holds them (behind a header of its own), or empty
  Dialect dialect = Dialect::bcc;
  bool from_cache = false;
  std::string clang_version;  ///< "19.1.7"
  std::string warnings;       ///< what clang said although it succeeded, and skep's own notes
};

/// Compiles a file. Errors: not_found (no such file, no clang), invalid_argument (clang refused the source: the
/// message is clang's, with the file and lines of the user), io, limit.
Result<Compiled> compile_file(const std::filesystem::path& path, const CompileOptions& options = {});

/// The same for a text in memory; `name` stands for the file in messages and line information.
Result<Compiled> compile_text(std::string_view text, std::string_view name, const CompileOptions& options = {});

/// Reads an object file, or compiles a C file and reads the result; which of the two, the content says.
/// Programs of the BCC dialect are made ready: named targets (kprobe__X, tracepoint__C__E, ...) become attach
/// targets, and handler parameters after the context are read from the registers.
/// The record type of a perf event array or ring buffer, where the object tells it, is its btf_value_type_id.
Result<ObjectSpec> load_program(const std::filesystem::path& path, const CompileOptions& options = {});

/// The same for a C text in memory.
Result<ObjectSpec> load_text(std::string_view text, std::string_view name, const CompileOptions& options = {});

/// The same for the bytes of an object (Compiled::object).
Result<ObjectSpec> load_object(std::span<const std::byte> elf, std::string_view name);

/// Writes the object of a source to a file (`skep compile FILE -o OUT`).
Result<Compiled> compile_to(const std::filesystem::path& source, const std::filesystem::path& object,
                            const CompileOptions& options = {});

}  // namespace skep::compile
