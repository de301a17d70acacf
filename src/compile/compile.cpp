// From a source to an object: the passes, in order.
//
//   open the cache -> read the source -> scan its words -> find clang -> name everything that matters (the key)
//   -> found in the cache: done
//   -> headers in place -> clang -> check that nothing changed meanwhile -> keep
#include "compile/compile.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/digest.hpp"
#include "base/kernel_version.hpp"
#include "base/mapped_file.hpp"
#include "compile/cache.hpp"
#include "compile/clang.hpp"
#include "compile/diagnostics.hpp"
#include "compile/entry.hpp"
#include "compile/guessed_members.hpp"
#include "compile/headers.hpp"
#include "compile/kernel_header.hpp"
#include "compile/kernel_names.hpp"
#include "compile/packet_reads.hpp"
#include "compile/prelude.hpp"
#include "compile/process.hpp"
#include "compile/scan.hpp"
#include "compile/wide_handlers.hpp"

namespace skep::compile {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_source_bytes = 16u << 20;
constexpr std::size_t most_object_bytes = 64u << 20;

/// Counts up when the same inputs give another object.
constexpr u64 key_format = 3;

#if defined(__x86_64__)
constexpr std::string_view host_arch = "x86";
constexpr const char* system_headers = "/usr/include/x86_64-linux-gnu";
#elif defined(__aarch64__)
constexpr std::string_view host_arch = "arm64";
constexpr const char* system_headers = "/usr/include/aarch64-linux-gnu";
#else
#error "skep knows the registers of x86-64 and arm64 only"
#endif

struct Source {
  fs::path path;  ///< of the file; the name in messages for a text in memory
  std::string text;
  bool in_memory = false;
};

/// Removes a directory when it goes.
class Scratch {
 public:
  explicit Scratch(fs::path path) : path_(std::move(path)) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

class Compilation {
 public:
  Compilation(Source source, const CompileOptions& options, Cache cache)
      : source_(std::move(source)), options_(options), cache_(std::move(cache)) {}

  Result<Compiled> run() {
    scan_ = scan_source(source_.text);
    if (options_.dialect != Dialect::automatic) scan_.dialect = options_.dialect;
    out_.dialect = scan_.dialect;
    arch_ = options_.arch.empty() ? std::string(host_arch) : options_.arch;
    if (arch_ != "x86" && arch_ != "arm64")
      return fail(Code::invalid_argument, fmt::format("arch {}: expected x86 or arm64", arch_));
    clang_ = SKEP_TRY(find_clang(cache_));
    out_.clang_version = clang_.version;
    kernel_id_ = kernel_types_id();
    if (scan_.dialect == Dialect::bcc && !kernel_id_.empty()) scan_.names_uapi = false;  // BTF has those, too
    prelude_ = SKEP_TRY(prelude_text(scan_));
    key_ = key() + ".o";
    if (options_.use_cache && from_cache()) return std::move(out_);
    SKEP_TRY(compile());
    return std::move(out_);
  }

 private:
  std::string key() const {
    std::error_code ignored;
    base::Digest digest;
    digest.number(key_format).field(source_.text).field(source_.path.native()).number(source_.in_memory);
    digest.field(fs::current_path(ignored).native());  // part of the debug information, and of relative -I
    digest.number(static_cast<u64>(scan_.dialect)).field(options_.cpu).field(arch_);
    digest.number(options_.cflags.size());
    for (const std::string& flag : options_.cflags) digest.field(flag);
    digest.field(clang_.identity).field(clang_.version).field(embedded_digest()).field(prelude_);
    if (takes_kernel_types()) digest.field(kernel_names_id());
    if (scan_.may_include_vmlinux || takes_kernel_types()) digest.field(kernel_id_);
    return digest.name();
  }

  /// A BCC source has the kernel's types without asking; where the kernel does not describe them, some of skep's own.
  bool takes_kernel_types() const { return scan_.dialect == Dialect::bcc && !kernel_id_.empty(); }

  bool from_cache() {
    const auto bytes = cache_.read(key_);
    if (!bytes) return false;
    auto entry = read_entry(*bytes);
    if (!entry || !still_valid(*entry)) return false;
    take(std::move(*entry));
    out_.from_cache = true;
    out_.path = cache_.directory() / key_;
    return true;
  }

  void take(Entry entry) {
    const auto* begin = reinterpret_cast<const std::byte*>(entry.object.data());
    out_.object.assign(begin, begin + entry.object.size());
    out_.warnings = std::move(entry.warnings);
  }

  Result<void> compile() {
    headers_ = SKEP_TRY(header_directory(cache_));
    std::string note;
    if (scan_.may_include_vmlinux) vmlinux_ = SKEP_TRY(vmlinux_directory(cache_, headers_, note));
    const Scratch scratch(SKEP_TRY(cache_.work_directory()));
    const auto arguments = SKEP_TRY(command_line(scratch.path()));
    const Finished finished = SKEP_TRY(run_process(arguments));
    const std::string said = without_repetition(
        hide_directory(hide_directory(finished.output, scratch.path().native() + "/"), headers_.native() + "/"));
    if (finished.exit_status != 0) return tl::unexpected(refusal(said, finished.exit_status));

    Entry entry;
    entry.object = SKEP_TRY(base::read_text(scratch.path() / "object.o", most_object_bytes));
    entry.warnings = note + said;
    const bool can_keep = options_.use_cache && unchanged() && find_dependencies(scratch.path(), entry);
    if (can_keep && cache_.write(key_, write_entry(entry))) {
      out_.path = cache_.directory() / key_;
      cache_.evict(cache_limit_bytes);
    }
    take(std::move(entry));
    return {};
  }

  Result<std::vector<std::string>> command_line(const fs::path& scratch) {
    std::vector<std::string> line = {clang_.path, "-target", clang_.target, "-mcpu=" + options_.cpu, "-O2", "-g"};
    const auto add = [&](auto... words) { (line.emplace_back(words), ...); };
    add("-std=gnu11", "-fno-stack-protector", "-fno-jump-tables", "-fno-strict-aliasing");
    add("-fno-color-diagnostics", "-fmacro-backtrace-limit=1", "-Wno-unknown-warning-option", "-Wno-pointer-sign",
        "-Wno-address-of-packed-member", "-Wno-compare-distinct-pointer-types", "-Wno-pragma-clang-attribute",
        "-Wno-gnu-folding-constant", "-Wno-error=incompatible-pointer-types", "-Wno-error=int-conversion");
    add("-D__TARGET_ARCH_" + arch_, "-D__BPF_TRACING__");
    if (takes_kernel_types()) add("-isystem", (scratch / "kernel").native());
    if (scan_.dialect == Dialect::bcc) {
      add("-isystem", (headers_ / "bcc").native());
      add("-Werror=implicit-function-declaration");  // it would become a kernel function that nobody has
    }
    add("-isystem", headers_.native());
    if (!vmlinux_.empty()) add("-isystem", vmlinux_.native());
    add("-idirafter", system_headers);
    // Objects do not depend on where the cache is.
    add(fmt::format("-ffile-prefix-map={}/=", scratch.native()),
        fmt::format("-ffile-prefix-map={}/=skep/", headers_.native()));
    if (!prelude_.empty()) {
      SKEP_TRY(base::write_file_atomic(scratch / "prelude.h", std::as_bytes(std::span(prelude_)), 0600));
      add("-include", (scratch / "prelude.h").native());
    }
    if (scan_.dialect == Dialect::bcc) add("-include", (headers_ / "skep" / "bcc.h").native());
    if (takes_kernel_types()) {
      SKEP_TRY(kernel_side(scratch));
      add("-include", (scratch / "kernel.h").native());
    }
    line.insert(line.end(), options_.cflags.begin(), options_.cflags.end());
    if (!source_.in_memory) add("-iquote", source_.path.has_parent_path() ? source_.path.parent_path().native() : ".");
    add("-MD", "-MF", (scratch / "object.d").native(), "-MT", "object", "-o", (scratch / "object.o").native());
    add("-x", "c", "-c", SKEP_TRY(input(scratch)).native());
    return line;
  }

  /// Stands for the kernel's headers: one with all that the source needs of them, and empty ones to include.
  Result<void> kernel_side(const fs::path& scratch) const {
    const SourceTree tree =
        read_source_tree(text(), source_.in_memory ? fs::path(".") : source_.path.parent_path(), options_.cflags);
    const std::string text = SKEP_TRY_AT("types of the kernel", kernel_header(tree));
    SKEP_TRY(write_stubs(tree, scratch / "kernel"));
    return base::write_file_atomic(scratch / "kernel.h", std::as_bytes(std::span(text)), 0600);
  }

  /// The source, with the structures and members that it means where the kernel tells its own.
  std::string text() const {
    std::string by_name =
        takes_kernel_types() ? rewrite_guessed_members(source_.text, base::kernel_version_code()) : std::string();
    return by_name.empty() ? source_.text : by_name;
  }

  /// The file clang reads. A path that begins with '-' must not look like an option.
  Result<fs::path> input(const fs::path& scratch) {
    const fs::path path = source_.path.native().starts_with('-') ? fs::path("." / source_.path) : source_.path;
    const bool is_bcc = scan_.dialect == Dialect::bcc;
    if (!source_.in_memory && !is_bcc) return path;
    std::string other = text();
    for (const auto rewrite : {rewrite_wide_handlers, rewrite_packet_reads})
      if (std::string text = is_bcc ? rewrite(other) : std::string(); !text.empty()) other = std::move(text);
    if (is_bcc) other += "\n#pragma clang attribute pop\n";
    // A copy still goes by its own name.
    if (!source_.in_memory) other = fmt::format("#line 1 {}\n{}", quoted(path.native()), other);
    fs::path file = scratch / path.filename();
    SKEP_TRY(base::write_file_atomic(file, std::as_bytes(std::span(other)), 0600));
    return file;
  }

  /// A C string.
  static std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + '"';
  }

  Error refusal(const std::string& said, int status) const {
    if (status >= 128)
      return {Code::io, fmt::format("{} was killed by signal {} while compiling {}\n{}", clang_.path, status - 128,
                                    source_.path.native(), said)};
    return {Code::invalid_argument, fmt::format("clang {} does not compile {}:\n{}{}", clang_.version,
                                                source_.path.native(), said, advice(said, scan_.dialect))};
  }

  /// Whether the file still reads as it did before clang read it.
  bool unchanged() const {
    if (source_.in_memory) return true;
    const auto now = base::read_text(source_.path, most_source_bytes);
    return now && *now == source_.text;
  }

  /// Headers that may change: not the source itself (it is in the key), not those that came with skep.
  bool find_dependencies(const fs::path& scratch, Entry& entry) const {
    const auto rule = base::read_text(scratch / "object.d", 4u << 20);
    if (!rule) return false;
    std::error_code error;
    for (const std::string& name : parse_depfile(*rule)) {
      const fs::path path = fs::absolute(name, error);
      const std::string& text = path.native();
      if (text.starts_with(cache_.directory().native() + "/")) continue;
      if (fs::equivalent(path, source_.path, error) || text.starts_with(scratch.native() + "/")) continue;
      auto dependency = depend_on(text);
      if (!dependency) return false;
      entry.dependencies.push_back(*std::move(dependency));
    }
    return true;
  }

  Source source_;
  const CompileOptions& options_;
  Cache cache_;
  Scan scan_;
  Clang clang_;
  std::string arch_, prelude_, kernel_id_, key_;
  fs::path headers_, vmlinux_;
  Compiled out_;
};

Result<Compiled> compile_source(Source source, const CompileOptions& options) {
  if (source.text.find('\0') != std::string::npos)
    return fail(Code::malformed, fmt::format("{}: not C: it contains zero bytes; expected C source or an ELF object",
                                             source.path.native()));
  return Compilation(std::move(source), options, SKEP_TRY(Cache::open(options.cache_dir))).run();
}

/// A file name for a text in memory: the last part of what it is called, with nothing that a path could hold.
fs::path text_name(std::string_view name) {
  std::string out(name.substr(name.find_last_of('/') + 1));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < ' ' || c == ':') c = '_';
  if (out.empty() || out == "." || out == ".." || out.starts_with("object.") || out == "prelude.h" ||
      out == "kernel.h" || out == "kernel")
    out = "text.c";
  return out.substr(0, 200);
}

}  // namespace

Result<Compiled> compile_file(const fs::path& path, const CompileOptions& options) {
  std::string text = SKEP_TRY(base::read_text(path, most_source_bytes));
  struct stat status{};
  // What can be read once only (a pipe) has been read now.
  const bool regular = ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
  if (!regular) return compile_text(text, path.filename().native() + ".c", options);
  return compile_source({path, std::move(text), false}, options);
}

Result<Compiled> compile_text(std::string_view text, std::string_view name, const CompileOptions& options) {
  if (text.size() >= most_source_bytes)
    return fail(Code::limit, fmt::format("{}: more than {} bytes of source", name, most_source_bytes));
  return compile_source({text_name(name), std::string(text), true}, options);
}

Result<Compiled> compile_to(const fs::path& source, const fs::path& object, const CompileOptions& options) {
  auto compiled = SKEP_TRY(compile_file(source, options));
  SKEP_TRY(base::write_file_atomic(object, compiled.object));
  return compiled;
}

}  // namespace skep::compile
