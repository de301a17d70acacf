// Wishes are collected until nothing is added: a function of the table brings words, which may be names of the table.
// Then BTF is asked for the types, and the rows that it did not answer are written out.
#include "compile/kernel_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/kernel_version.hpp"
#include "base/mapped_file.hpp"
#include "compile/headers.hpp"
#include "compile/kernel_names.hpp"
#include "compile/kernel_types.hpp"
#include "compile/packet_reads.hpp"
#include "compile/scan.hpp"
#include "compile/source_names.hpp"

namespace skep::compile {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_headers = 64;
constexpr std::size_t most_header_bytes = 4u << 20;

/// How the paths of the kernel's headers begin, as programs include them. Clang's own <stdint.h> and <stdbool.h> are
/// among them: their types would not be those of the kernel.
constexpr std::array<std::string_view, 24> kernel_directories = {
    "linux/", "uapi/", "net/",    "asm/",   "asm-generic/", "scsi/",  "sound/",  "crypto/",
    "trace/", "rdma/", "drm/",    "video/", "generated/",   "acpi/",  "target/", "xen/",
    "vdso/",  "bcc/",  "kernel/", "fs/",    "drivers/",     "block/", "mm/",     "sys/types.h"};
constexpr std::array<std::string_view, 4> other_headers = {"stdint.h", "stdbool.h", "stddef.h", "stdarg.h"};

bool is_kernel_path(std::string_view path) {
  return std::any_of(kernel_directories.begin(), kernel_directories.end(),
                     [&](std::string_view d) { return path.starts_with(d); }) ||
         std::find(other_headers.begin(), other_headers.end(), path) != other_headers.end();
}

/// A path that a header in our words can stand for: below the directory, of plain names.
bool is_plain_path(std::string_view path) {
  return !path.starts_with('/') && path.find("..") == path.npos && path.find("//") == path.npos &&
         path.find('\0') == path.npos && path.size() < 200;
}

struct Include {
  std::string path;
  bool quoted = false;
};

/// The #include lines: the blanked text says that they are none of a comment, the original has their paths.
std::vector<Include> includes_of(std::string_view original, std::string_view clean) {
  std::vector<Include> out;
  for (std::size_t begin = 0; begin < clean.size();) {
    const std::size_t end = std::min(clean.find('\n', begin), clean.size());
    std::size_t i = clean.find_first_not_of(" \t", begin);
    if (i < end && clean[i] == '#') {
      i = clean.find_first_not_of(" \t", i + 1);
      if (i < end && clean.substr(i).starts_with("include")) {
        const std::string_view line = original.substr(begin, end - begin);
        const std::size_t open = line.find_first_of("<\"");
        const std::size_t close = open == line.npos ? line.npos : line.find_first_of(">\"", open + 1);
        if (close != line.npos)
          out.push_back({std::string(line.substr(open + 1, close - open - 1)), line[open] == '"'});
      }
    }
    begin = end + 1;
  }
  return out;
}

class TreeReader {
 public:
  TreeReader(std::span<const std::string> cflags) {
    for (std::size_t i = 0; i < cflags.size(); ++i) {
      if (cflags[i] == "-I" && i + 1 < cflags.size())
        directories_.emplace_back(cflags[++i]);
      else if (cflags[i].starts_with("-I"))
        directories_.emplace_back(cflags[i].substr(2));
      else if (cflags[i] == "-D" && i + 1 < cflags.size())
        define(cflags[++i]);
      else if (cflags[i].starts_with("-D"))
        define(cflags[i].substr(2));
    }
  }

  void read(std::string_view text, const fs::path& directory) {
    out_.texts.push_back(blank_comments_and_strings(text));
    for (const Include& include : includes_of(text, std::string(out_.texts.back()))) {
      if (const auto own = find(include, directory)) {
        if (seen_.size() < most_headers && seen_.insert(own->native()).second)
          if (const auto content = base::read_text(*own, most_header_bytes)) read(*content, own->parent_path());
      } else if (is_kernel_path(include.path) && is_plain_path(include.path)) {
        out_.kernel_paths.push_back(include.path);
      }
    }
  }

  SourceTree take() {
    std::sort(out_.kernel_paths.begin(), out_.kernel_paths.end());
    out_.kernel_paths.erase(std::unique(out_.kernel_paths.begin(), out_.kernel_paths.end()), out_.kernel_paths.end());
    return std::move(out_);
  }

 private:
  /// "NAME=VALUE" or "NAME", as `-D` has it.
  void define(std::string macro) {
    const auto equals = macro.find('=');
    macro.replace(std::min(equals, macro.size()), equals == macro.npos ? 0 : 1, " ");
    out_.texts.push_back(blank_comments_and_strings("#define " + macro + "\n"));
  }
  std::optional<fs::path> find(const Include& include, const fs::path& directory) const {
    std::error_code error;
    if (include.quoted && fs::is_regular_file(directory / include.path, error)) return directory / include.path;
    for (const fs::path& d : directories_)
      if (fs::is_regular_file(d / include.path, error)) return d / include.path;
    return std::nullopt;
  }

  std::vector<fs::path> directories_;
  SourceTree out_;
  std::set<std::string> seen_;
};

/// What skep's own headers of the dialect define.
const SourceNames& own_names() {
  static const SourceNames names = [] {
    SourceNames out;
    for (const EmbeddedHeader& header : embedded_headers())
      if (header.path.starts_with("skep/") && header.path != "skep/bcc_usdt.h" && header.path != packets_header)
        out.add(blank_comments_and_strings(header.text));
    return out;
  }();
  return names;
}

class Collector {
 public:
  explicit Collector(const SourceTree& tree) {
    for (const std::string& text : tree.texts) source_.add(text);
    source_.replace_macros_in_tags();
    has_packets_ = std::ranges::any_of(tree.texts, reads_packets);
    for (const EmbeddedHeader& header : embedded_headers())
      if (has_packets_ && header.path == packets_header) source_.add(blank_comments_and_strings(header.text));
    wishes_.source_tags = source_.defined_tags;
    wishes_.known_tags = own_names().defined_tags;
    wishes_.defined = source_.defined;
    wishes_.defined.insert(own_names().defined.begin(), own_names().defined.end());
    wishes_.macros = source_.macros;
    wishes_.macros.insert(own_names().macros.begin(), own_names().macros.end());
  }

  Result<std::string> run() {
    collect_rows();
    wishes_.tags = source_.tags;
    wishes_.words = source_.words;
    wishes_.beginnings = source_.beginnings;
    const auto base = SKEP_TRY(kernel_btf_with({}));
    KernelTypes types = SKEP_TRY(kernel_types(*base, wishes_));
    if (!types.missing.empty()) {
      const auto with_module = SKEP_TRY(kernel_btf_with(types.missing));
      if (with_module->base() != nullptr) types = SKEP_TRY(kernel_types(*with_module, wishes_));
    }
    std::string out;
    for (const std::string& word : std::set<std::string>(source_.words.begin(), source_.words.end()))
      if (wishes_.defined.count(word) == 0) out += kernel_setting(word);
    const std::string settings = std::exchange(out, {});
    for (std::size_t i = 0; i < kernel_names().size(); ++i) {
      const KernelName& row = kernel_names()[i];
      if (!chosen_[i] || types.found.count(std::string(row.name)) != 0) continue;
      if (row.kind != KernelName::Kind::function) out += definition_of(row);
    }
    std::string functions;
    for (std::size_t i = 0; i < kernel_names().size(); ++i)
      if (chosen_[i] && kernel_names()[i].kind == KernelName::Kind::function)
        functions += definition_of(kernel_names()[i]);
    if (source_.words.count("bpf_usdt_readarg") != 0 || source_.words.count("bpf_usdt_readarg_p") != 0)
      functions += "#include <skep/bcc_usdt.h>\n";
    if (has_packets_) functions += fmt::format("#include <{}>\n", packets_header);
    // Types first: a macro must not reach into their declarations.
    return types.text + settings + out + functions;
  }

 private:
  /// Rows whose name occurs, until no row brings another one.
  void collect_rows() {
    chosen_.resize(kernel_names().size());
    for (bool more = true; more;) {
      more = false;
      for (std::size_t i = 0; i < chosen_.size(); ++i) {
        const std::string name(kernel_names()[i].name);
        if (chosen_[i] || source_.words.count(name) == 0 || wishes_.defined.count(name) != 0) continue;
        if (!kernel_names()[i].is_in(base::kernel_version_code())) continue;
        chosen_[i] = more = true;
        SourceNames row;
        row.add(kernel_names()[i].text);
        source_.words.insert(row.words.begin(), row.words.end());
        source_.tags.insert(row.tags.begin(), row.tags.end());
        if (kernel_names()[i].kind == KernelName::Kind::constant) wishes_.macros.insert(name);
      }
    }
  }

  SourceNames source_;
  TypeWishes wishes_;
  std::vector<bool> chosen_;
  bool has_packets_ = false;
};

}  // namespace

SourceTree read_source_tree(std::string_view source, const fs::path& directory, std::span<const std::string> cflags) {
  TreeReader reader(cflags);
  reader.read(source, directory);
  return reader.take();
}

Result<std::string> kernel_header(const SourceTree& tree) { return Collector(tree).run(); }

Result<void> write_stubs(const SourceTree& tree, const fs::path& directory) {
  for (const std::string& path : tree.kernel_paths) {
    std::error_code error;
    fs::create_directories((directory / path).parent_path(), error);
    if (error) return fail(Code::io, fmt::format("{}: {}", directory.native(), error.message()), error.value());
    SKEP_TRY(base::write_file_atomic(directory / path, {}, 0600));
  }
  return {};
}

}  // namespace skep::compile
