// Hostile bytes on the control socket, without the socket: whatever a client sends, the host answers one
// well-formed frame no larger than the protocol's limit; whatever a host answers, a client survives.
//
//   cmake -B build/fuzz -DSKEP_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++ && build/fuzz/fuzz_control_socket
//
// The first byte is the frame's kind, the rest its body. The objects behind the socket are the tests' fakes, whose
// map a fuzzer may fill: a bounded number of elements.
#include <cstdlib>

#include "user/control/fake_objects.hpp"
#include "user/control/protocol.hpp"

namespace {

using namespace skep;
using namespace skep::user;

void expect(bool holds) {
  if (!holds) std::abort();
}

template <class T>
void decode(u8 kind, std::span<const std::byte> body) {
  const auto decoded = control::decode_answer<T>(kind, body);
  if (!decoded) expect(decoded.error().code <= Code::closed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  if (size == 0) return 0;
  static testing::FakeObjects objects;
  if (objects.map->elements.size() > 1000) objects.map->elements.clear();
  const u8 kind = data[0];
  std::vector<std::byte> body(size - 1);
  __builtin_memcpy(body.data(), data + 1, size - 1);
  // Random ids would rarely meet an object: 0 stands for the fakes'.
  if (body.size() >= 4 && body[0] == std::byte{0}) {
    const auto is = [&](control::Op op) { return kind == static_cast<u8>(op); };
    const bool program = is(control::Op::program_code) || is(control::Op::test_run);
    const u32 id = program ? objects.program->info.id : objects.map->info.id;
    __builtin_memcpy(body.data(), &id, sizeof id);
  }

  const auto frame = control::answer(*objects.registry, kind, body);
  expect(frame.size() >= sizeof(control::Header));
  control::Header header;
  __builtin_memcpy(&header, frame.data(), sizeof header);
  expect(header.magic == control::magic && header.body_bytes == frame.size() - sizeof header);
  expect(header.body_bytes <= control::max_answer_bytes);

  decode<std::vector<ProgramInfo>>(kind, body);
  decode<std::vector<MapInfo>>(kind, body);
  decode<std::vector<LinkInfo>>(kind, body);
  decode<ProgramCode>(kind, body);
  decode<std::vector<BtfInfo>>(kind, body);
  decode<TestRunResult>(kind, body);
  decode<control::BtfPiece>(kind, body);
  decode<control::Batch>(kind, body);
  decode<std::vector<std::byte>>(kind, body);
  decode<std::optional<std::vector<std::byte>>>(kind, body);
  return 0;
}
