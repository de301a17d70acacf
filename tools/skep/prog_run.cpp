// skep prog run: a loaded program, once or many times, on a packet and a context given as files.
#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <iostream>
#include <iterator>

#include "prog_words.hpp"

namespace skep::tools {

namespace {

struct RunLine {
  std::string data_in, data_out, context_in, context_out;
  u64 repeat = 1;
  std::optional<u64> data_size, context_size;  ///< of what is shown
};

Result<std::vector<std::byte>> read_bytes(const std::string& path) {
  constexpr std::size_t most_bytes = 1u << 20;
  std::ifstream file;
  if (path != "-") {
    file.open(path, std::ios::binary);
    if (!file) return tl::unexpected(Error{Code::io, fmt::format("{}: {}", path, strerrordesc_np(errno)), errno});
  }
  std::istream& in = path == "-" ? std::cin : file;
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (text.size() > most_bytes)
    return fail(Code::limit, fmt::format("{}: {} bytes, a test run takes at most {}", path, text.size(), most_bytes));
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  return std::vector<std::byte>(bytes, bytes + text.size());
}

Result<void> write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file;
  if (path != "-") file.open(path, std::ios::binary);
  std::ostream& out = path == "-" ? std::cout : file;
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.flush();
  if (!out) return tl::unexpected(Error{Code::io, fmt::format("{}: {}", path, strerrordesc_np(errno)), errno});
  return {};
}

Result<RunLine> parse_line(Words& words) {
  RunLine line;
  while (!words.done()) {
    const std::string word = words.next(), value = words.next();
    if (value.empty()) return fail(Code::invalid_argument, fmt::format("'{}' must be followed by a value", word));
    if (word == "data_in") {
      line.data_in = value;
    } else if (word == "data_out") {
      line.data_out = value;
    } else if (word == "ctx_in") {
      line.context_in = value;
    } else if (word == "ctx_out") {
      line.context_out = value;
    } else if (word == "repeat") {
      line.repeat = SKEP_TRY(count_of(value, "repeat"));
    } else if (word == "data_size_out") {
      line.data_size = SKEP_TRY(count_of(value, word));
    } else if (word == "ctx_size_out") {
      line.context_size = SKEP_TRY(count_of(value, word));
    } else {
      return fail(
          Code::invalid_argument,
          fmt::format("'{}': expected data_in, data_out, data_size_out, ctx_in, ctx_out, ctx_size_out or repeat",
                      word));
    }
  }
  if (line.data_in.empty() && line.context_in.empty())
    return fail(Code::invalid_argument, "expected `data_in FILE` (a packet), `ctx_in FILE` (a context), or both");
  if (line.data_in == "-" && line.context_in == "-")
    return fail(Code::invalid_argument, "standard input can be the packet or the context, not both");
  if (line.repeat > 0xffffffffu) return fail(Code::invalid_argument, "repeat: more than 32 bits");
  return line;
}

/// What a dump shows of the output, and where: a file, or a part of the answer.
Result<void> put(base::JsonWriter& json, const Words& words, std::string_view key, const std::string& path,
                 std::span<const std::byte> bytes) {
  if (!path.empty()) return write_file(path, bytes);
  if (bytes.empty()) return {};
  if (words.json) {
    json.key(key);
    json.begin_array();
    for (const auto byte : bytes) json.string(fmt::format("0x{:02x}", static_cast<unsigned>(byte)));
    json.end_array();
    return {};
  }
  constexpr std::size_t in_a_row = 16;
  fmt::print("{}:\n", key == "data_out" ? "Data" : "Context");
  for (std::size_t at = 0; at < bytes.size(); at += in_a_row) {
    std::string row, text;
    for (std::size_t i = at; i < std::min(at + in_a_row, bytes.size()); ++i) {
      const auto byte = static_cast<unsigned>(bytes[i]);
      row += fmt::format("{:02x} ", byte);
      text += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.';
    }
    fmt::print("{:07x} {:<48} {}\n", at, row, text);
  }
  return {};
}

}  // namespace

Result<int> prog_run(Words& words) {
  const auto program = SKEP_TRY(find_program(words));
  const RunLine line = SKEP_TRY(parse_line(words));
  TestRun run;
  if (!line.data_in.empty()) run.data = SKEP_TRY(read_bytes(line.data_in));
  if (!line.context_in.empty()) run.context = SKEP_TRY(read_bytes(line.context_in));
  run.repeat = static_cast<u32>(line.repeat);
  auto ran = SKEP_TRY(program.where->test_run(program.info.id, run));
  if (line.data_size) ran.data.resize(std::min<u64>(ran.data.size(), *line.data_size));
  if (line.context_size) ran.context.resize(std::min<u64>(ran.context.size(), *line.context_size));
  base::JsonWriter json(words.pretty);
  json.begin_object();
  SKEP_TRY(put(json, words, "data_out", line.data_out, ran.data));
  SKEP_TRY(put(json, words, "ctx_out", line.context_out, ran.context));
  json.member("retval", ran.result & 0xffffffff);
  json.member("duration", ran.duration_ns);
  json.end_object();
  if (words.json)
    print(json);
  else
    fmt::print("Return value: {}, duration{}: {}ns\n", ran.result & 0xffffffff, run.repeat > 1 ? " (average)" : "",
               ran.duration_ns);
  return 0;
}

}  // namespace skep::tools
