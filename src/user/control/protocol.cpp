// Frames to structures and back, and the host's half of the conversation. See protocol.hpp.
#include "user/control/protocol.hpp"

#include <algorithm>

#include "btf/btf.hpp"

namespace skep::user::control {

namespace {

template <class T, class Wanted>
concept Is = std::same_as<std::remove_const_t<T>, Wanted>;

// One description per structure: A is Writer (T const) or Reader (T mutable).
template <class A, Is<ProgramInfo> T>
void fields(A& a, T& p) {
  a(p.id), a(p.type), a(p.name), a(p.tag), a(p.gpl_compatible), a(p.loaded_at), a(p.uid), a(p.bytes_xlated);
  a(p.jited), a(p.bytes_jited), a(p.bytes_memlock), a(p.map_ids), a(p.btf_id), a(p.run_count), a(p.run_time_ns);
  a(p.recursion_misses), a(p.insns_processed), a(p.host_pid), a(p.host_name), a(p.pinned);
}
template <class A, Is<MapInfo> T>
void fields(A& a, T& m) {
  a(m.id), a(m.type), a(m.name), a(m.flags), a(m.key_size), a(m.value_size), a(m.max_entries), a(m.bytes_memlock);
  a(m.frozen), a(m.btf_id), a(m.btf_key_type_id), a(m.btf_value_type_id), a(m.owner_type), a(m.owner_jited);
  a(m.host_pid), a(m.host_name), a(m.pinned);
}
template <class A, Is<BtfInfo> T>
void fields(A& a, T& b) {
  a(b.id), a(b.size_bytes), a(b.is_kernel), a(b.name), a(b.host_pid), a(b.host_name);
}
template <class A, Is<TestRunResult> T>
void fields(A& a, T& r) {
  a(r.result), a(r.data), a(r.context), a(r.duration_ns);
}
template <class A, Is<LinkInfo> T>
void fields(A& a, T& l) {
  a(l.id), a(l.type), a(l.target), a(l.program_id), a(l.host_pid), a(l.host_name);
}
template <class A, Is<SourceLine> T>
void fields(A& a, T& l) {
  a(l.insn), a(l.file), a(l.text), a(l.line), a(l.column);
}
template <class A, Is<FunctionInfo> T>
void fields(A& a, T& f) {
  a(f.insn), a(f.type_id), a(f.name), a(f.is_global);
}
template <class A, Is<ProgramCode> T>
void fields(A& a, T& c) {
  a(c.insns), a(c.lines), a(c.functions), a(c.jited), a(c.machine);
}
template <class A, Is<Batch::Element> T>
void fields(A& a, T& e) {
  a(e.key), a(e.value);
}
template <class A, Is<Batch> T>
void fields(A& a, T& b) {
  a(b.elements), a(b.more);
}
template <class A, Is<BtfPiece> T>
void fields(A& a, T& b) {
  a(b.total_bytes), a(b.bytes);
}
template <class A, Is<Request> T>
void fields(A& a, T& r) {
  bool has_key = r.key.has_value();
  a(r.id), a(r.flags), a(has_key);
  if constexpr (std::same_as<A, Reader>)
    if (has_key) r.key.emplace();
  if (r.key) a(*r.key);
  a(r.value);
}
// Where a value is the whole answer.
template <class A, class T>
  requires requires(A& a, T& t) { a(t); }
void fields(A& a, T& value) {
  a(value);
}
template <class A>
void fields(A& a, const std::optional<std::vector<std::byte>>& key) {
  a(key.has_value());
  if (key) a(*key);
}
void fields(Reader& a, std::optional<std::vector<std::byte>>& key) {
  bool present = false;
  a(present);
  if (present) a(key.emplace());
}

template <class T>
std::vector<std::byte> encode_answer(const T& value) {
  Writer writer;
  fields(writer, value);
  if (writer.body_bytes() > max_answer_bytes)
    return encode_error(Error{Code::limit, "the answer has " + std::to_string(writer.body_bytes()) +
                                               " bytes, the control socket carries at most " +
                                               std::to_string(max_answer_bytes)});
  return writer.frame(0);
}

template <class T>
std::vector<std::byte> encode_result(const Result<T>& result) {
  if (!result) return encode_error(result.error());
  if constexpr (std::is_void_v<T>)
    return Writer().frame(0);
  else
    return encode_answer(*result);
}

Result<BtfPiece> btf_piece(Inspector& inspector, u32 id, u64 offset) {
  const auto types = SKEP_TRY(inspector.btf(id));
  const auto bytes = types->bytes();
  if (offset > bytes.size()) return fail(Code::invalid_argument, "offset beyond the end of the types");
  const auto piece = bytes.subspan(offset, std::min<u64>(btf_piece_bytes, bytes.size() - offset));
  return BtfPiece{.total_bytes = bytes.size(), .bytes = {piece.begin(), piece.end()}};
}

/// Elements behind `key` until the batch is full. An element that goes away meanwhile is left out.
Result<Batch> dump(const Map& map, std::optional<std::vector<std::byte>> key) {
  Batch batch;
  std::size_t bytes = 0;
  // A program may add elements as fast as they are read; the walk is bounded by the map's size.
  for (u64 steps = 0; steps <= map.info().max_entries; ++steps) {
    auto next = SKEP_TRY(map.next_key(key ? std::optional<std::span<const std::byte>>(*key) : std::nullopt));
    if (!next) return batch;
    if (bytes >= dump_batch_bytes) {
      batch.more = true;
      return batch;
    }
    if (auto value = map.lookup(*next)) {
      bytes += next->size() + value->size() + 8;
      batch.elements.push_back({*next, std::move(*value)});
    } else if (value.error().code != Code::not_found) {
      return tl::unexpected<Error>(std::move(value).error());
    }
    key = std::move(next);
  }
  return batch;
}

std::vector<std::byte> answer_map(Inspector& inspector, const Request& request) {
  auto opened = inspector.map(request.id);
  if (!opened) return encode_error(opened.error());
  const Map& map = *opened;
  if (request.op == Op::map) return encode_answer(map.info());
  if (request.op == Op::next_key)
    return encode_result(
        map.next_key(request.key ? std::optional<std::span<const std::byte>>(*request.key) : std::nullopt));
  if (request.op == Op::dump) return encode_result(dump(map, request.key));
  if (request.op == Op::freeze) return encode_result(map.freeze());
  if (!request.key) return encode_error(Error{Code::invalid_argument, "this request needs a key"});
  if (request.op == Op::lookup) return encode_result(map.lookup(*request.key));
  if (request.op == Op::update) return encode_result(map.update(*request.key, request.value, request.flags));
  if (request.op == Op::take) return encode_result(map.take(*request.key));
  return encode_result(map.erase(*request.key));
}

Result<TestRunResult> run_program(Inspector& inspector, const Request& request) {
  if (request.flags > max_test_repeat)
    return fail(Code::limit, "a host runs a program at most " + std::to_string(max_test_repeat) +
                                 " times for one request, not " + std::to_string(request.flags));
  TestRun run;
  run.data = request.value;
  if (request.key) run.context = *request.key;
  run.repeat = static_cast<u32>(request.flags);
  return inspector.test_run(request.id, run);
}

}  // namespace

std::vector<std::byte> Writer::frame(u8 kind) {
  const Header header{.body_bytes = static_cast<u32>(body_bytes_), .kind = kind};
  std::memcpy(bytes_.data(), &header, sizeof header);
  return std::move(bytes_);
}

/// Items without inner structure are copied in one piece.
template <class T>
constexpr bool travels_whole = std::same_as<T, std::byte> || std::same_as<T, Insn>;

template <class T>
void Writer::operator()(const std::vector<T>& items) {
  (*this)(static_cast<u32>(items.size()));
  if constexpr (travels_whole<T>)
    raw(items.data(), items.size() * sizeof(T));
  else
    for (const T& item : items) fields(*this, item);
}

template <class T>
void Reader::operator()(std::vector<T>& items) {
  if constexpr (travels_whole<T>) {
    items.resize(count(sizeof(T)));
    raw(static_cast<void*>(items.data()), items.size() * sizeof(T));
  } else {
    // Items are read one by one and cost memory as they come, not as they are announced.
    const u32 number = count(4);
    items.clear();
    for (u32 i = 0; i < number && ok_; ++i) fields(*this, items.emplace_back());
  }
}

std::vector<std::byte> encode(const Request& request) {
  Writer writer;
  fields(writer, request);
  return writer.frame(static_cast<u8>(request.op));
}

Result<Request> decode_request(u8 kind, std::span<const std::byte> body) {
  if (kind < static_cast<u8>(Op::programs) || kind > static_cast<u8>(Op::test_run))
    return fail(Code::unsupported, "request " + std::to_string(kind) + " is not one that this host knows");
  Request request;
  request.op = static_cast<Op>(kind);
  Reader reader(body);
  fields(reader, request);
  if (!reader.at_end()) return fail(Code::malformed, "the request's body is not of its form");
  return request;
}

std::vector<std::byte> encode_error(const Error& error) {
  constexpr std::size_t longest_message = 4096;
  Writer writer;
  writer(error.message.substr(0, longest_message));
  writer(static_cast<s32>(error.os_error));
  return writer.frame(static_cast<u8>(1 + static_cast<int>(error.code)));
}

std::vector<std::byte> answer(Inspector& inspector, u8 kind, std::span<const std::byte> body) {
  const auto request = decode_request(kind, body);
  if (!request) return encode_error(request.error());
  switch (request->op) {
    case Op::programs:
      return encode_result(inspector.programs());
    case Op::maps:
      return encode_result(inspector.maps());
    case Op::links:
      return encode_result(inspector.links());
    case Op::program_code:
      return encode_result(inspector.program_code(request->id));
    case Op::btf:
      return encode_result(btf_piece(inspector, request->id, request->flags));
    case Op::map:
    case Op::lookup:
    case Op::update:
    case Op::erase:
    case Op::next_key:
    case Op::dump:
    case Op::take:
    case Op::freeze:
      return answer_map(inspector, *request);
    case Op::btfs:
      return encode_result(inspector.btfs());
    case Op::test_run:
      return encode_result(run_program(inspector, *request));
  }
  return encode_error(Error{Code::unsupported, "no such request"});
}

template <class T>
Result<T> decode_answer(u8 kind, std::span<const std::byte> body) {
  Reader reader(body);
  if (kind == 0) {
    T value{};
    fields(reader, value);
    if (!reader.at_end()) return fail(Code::malformed, "the answer is not of the form that the request asks for");
    return value;
  }
  Error error;
  s32 os_error = 0;
  reader(error.message);
  reader(os_error);
  if (!reader.at_end() || kind > 1 + static_cast<int>(Code::closed))
    return fail(Code::malformed, "the error answer is not of its form");
  error.code = static_cast<Code>(kind - 1);
  error.os_error = os_error;
  return tl::unexpected<Error>(std::move(error));
}

template <>
Result<std::monostate> decode_answer(u8 kind, std::span<const std::byte> body) {
  if (kind != 0) {
    auto error = decode_answer<u8>(kind, body);
    return tl::unexpected<Error>(std::move(error).error());
  }
  if (!body.empty()) return fail(Code::malformed, "the answer should be empty");
  return std::monostate{};
}

template Result<std::vector<ProgramInfo>> decode_answer(u8, std::span<const std::byte>);
template Result<std::vector<MapInfo>> decode_answer(u8, std::span<const std::byte>);
template Result<std::vector<LinkInfo>> decode_answer(u8, std::span<const std::byte>);
template Result<std::vector<BtfInfo>> decode_answer(u8, std::span<const std::byte>);
template Result<TestRunResult> decode_answer(u8, std::span<const std::byte>);
template Result<ProgramCode> decode_answer(u8, std::span<const std::byte>);
template Result<BtfPiece> decode_answer(u8, std::span<const std::byte>);
template Result<MapInfo> decode_answer(u8, std::span<const std::byte>);
template Result<Batch> decode_answer(u8, std::span<const std::byte>);
template Result<std::vector<std::byte>> decode_answer(u8, std::span<const std::byte>);
template Result<std::optional<std::vector<std::byte>>> decode_answer(u8, std::span<const std::byte>);

}  // namespace skep::user::control
