// The language of the control socket: frames, requests, answers.
//
// A frame is a fixed header and a body of at most so many bytes. A client sends one request and reads one
// answer; the requests mirror Inspector. Both sides treat the other's bytes as hostile: the decoder checks
// every length against what is there before it allocates, and `answer()` is a plain function from bytes to
// bytes, so that tests and the fuzzer reach all of it without a socket.
//
// Each structure is described once (`fields`, protocol.cpp); writing and reading are two walks over the same
// description. Integers are in host byte order: the socket does not leave the machine.
#pragma once
#include <concepts>
#include <cstring>
#include <memory>
#include <optional>
#include <skep/backend.hpp>
#include <skep/inspect.hpp>
#include <skep/types.hpp>
#include <span>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

namespace skep::user::control {

inline constexpr u16 magic = 0x6b73;  ///< "sk"
inline constexpr u8 protocol_version = 3;
/// Largest body of a request: a key and a value of a map.
inline constexpr u32 max_request_bytes = (1u << 20) + (64u << 10);
/// Largest body of an answer: a whole program's code with its source lines.
inline constexpr u32 max_answer_bytes = 16u << 20;
/// An answer to `dump` stops after this many bytes; the client asks for the rest.
inline constexpr u32 dump_batch_bytes = 64u << 10;
/// Types of a BTF object travel in pieces of this size.
inline constexpr u32 btf_piece_bytes = 1u << 20;

struct Header {
  u32 body_bytes = 0;
  u16 magic = control::magic;
  u8 version = protocol_version;
  u8 kind = 0;  ///< request: an Op; answer: 0 or 1 + Code
};
static_assert(sizeof(Header) == 8);

enum class Op : u8 {
  programs = 1,
  maps,
  links,
  program_code,
  btf,
  map,
  lookup,
  update,
  erase,
  next_key,
  dump,
  take,
  freeze,
  btfs,
  test_run
};
/// Repetitions of one test run: it must be over before the client stops waiting.
inline constexpr u32 max_test_repeat = 100'000;

/// One request. Every operation uses the fields it needs: `id` of the object; `flags` of an update, offset of a
/// BTF piece, repetitions of a test run; key and value of a map operation; context and packet of a test run.
struct Request {
  Op op = Op::programs;
  u32 id = 0;
  u64 flags = 0;
  std::optional<std::vector<std::byte>> key;
  std::vector<std::byte> value;
};

/// A map's elements in the map's own order.
struct Batch {
  struct Element {
    std::vector<std::byte> key;
    std::vector<std::byte> value;
  };
  std::vector<Element> elements;
  bool more = false;  ///< elements follow the last one
};

/// A piece of a BTF object's bytes.
struct BtfPiece {
  u64 total_bytes = 0;
  std::vector<std::byte> bytes;
};

/// Appends values to a frame's body, whose header it leaves room for. Beyond the limit it keeps nothing more, so a
/// large answer costs no more than the largest that can be sent.
class Writer {
 public:
  Writer() : bytes_(sizeof(Header)) {}
  template <class T>
    requires std::integral<T> || std::is_enum_v<T>
  void operator()(const T& value) {
    raw(&value, sizeof value);
  }
  void operator()(const bool& value) { (*this)(static_cast<u8>(value)); }
  void operator()(const std::string& text) {
    (*this)(static_cast<u32>(text.size()));
    raw(text.data(), text.size());
  }
  template <class T>
  void operator()(const std::vector<T>& items);

  void raw(const void* data, std::size_t size) {
    body_bytes_ += size;
    if (body_bytes_ > max_answer_bytes) return;
    const auto* bytes = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), bytes, bytes + size);
  }
  /// Of the body, also of what did not fit any more.
  u64 body_bytes() const { return body_bytes_; }
  /// The frame. The body must have fitted.
  std::vector<std::byte> frame(u8 kind);

 private:
  std::vector<std::byte> bytes_;
  u64 body_bytes_ = 0;
};

/// Takes values from a body. After the first value that does not fit everything reads as zero and ok() is false.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class T>
    requires std::integral<T> || std::is_enum_v<T>
  void operator()(T& value) {
    raw(&value, sizeof value);
  }
  void operator()(bool& value) {
    u8 byte = 0;
    (*this)(byte);
    value = byte != 0;
  }
  void operator()(std::string& text) {
    const u32 size = count(1);
    text.resize(size);
    raw(text.data(), size);
  }
  template <class T>
  void operator()(std::vector<T>& items);

  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && bytes_.empty(); }

 private:
  /// The number of items that follow; 0 and not ok() when the body is too short to hold them.
  u32 count(std::size_t least_bytes_each) {
    u32 number = 0;
    (*this)(number);
    if (number > bytes_.size() / least_bytes_each) ok_ = false;
    return ok_ ? number : 0;
  }
  void raw(void* data, std::size_t size) {
    if (!ok_ || size > bytes_.size()) {
      ok_ = false;
      if (size != 0) std::memset(data, 0, size);
      return;
    }
    if (size != 0) std::memcpy(data, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

/// A whole frame: header and body.
std::vector<std::byte> encode(const Request& request);
Result<Request> decode_request(u8 kind, std::span<const std::byte> body);

/// The frame that answers a request frame's kind and body. Never fails: what is wrong becomes an error answer.
std::vector<std::byte> answer(Inspector& inspector, u8 kind, std::span<const std::byte> body);
/// A frame that says no.
std::vector<std::byte> encode_error(const Error& error);

/// What an answer holds, by its kind and body. Errors: the host's own, or malformed.
template <class T>
Result<T> decode_answer(u8 kind, std::span<const std::byte> body);
/// An answer that holds nothing but the fact.
template <>
Result<std::monostate> decode_answer(u8 kind, std::span<const std::byte> body);

}  // namespace skep::user::control
