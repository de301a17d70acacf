// libFuzzer: the bytes of a .BTF section through every reader of types.
//
// The first byte chooses how the rest is cut: whole, or as a base and a split part. Nothing may crash, hang or
// allocate without bound.
#include <cstdint>
#include <memory>
#include <vector>

#include "btf/builder.hpp"
#include "btf/core.hpp"
#include "btf/dump_c.hpp"
#include "btf/dump_raw.hpp"
#include "btf/ext.hpp"
#include "btf/format_value.hpp"

namespace {

using skep::btf::Btf;

/// What is done with the kernel's own types, whose references are not proved.
void look_around(const Btf& types) {
  for (skep::u32 id = 0; id < types.type_count() && id < 2000; id++) {
    const auto t = types.type(id);
    (void)types.size_of(id);
    (void)types.align_of(id);
    (void)types.find(t.name, t.kind);
    for (const auto& member : types.members(t)) (void)types.type(types.resolve(member.type_id));
    if (id == 0 || id >= 100) continue;
    for (skep::u32 kind = 0; kind <= 12; kind++)
      (void)skep::btf::resolve(types, {.insn = 0, .type_id = id, .access = "0:1", .kind = kind}, types);
  }
}

void exercise(const Btf& types) {
  const std::vector<std::byte> value(512, std::byte{0x41});
  for (skep::u32 id = 0; id < types.type_count() && id < 2000; id++) {
    const auto t = types.type(id);
    (void)types.resolve(id);
    (void)types.size_of(id);
    (void)types.align_of(id);
    (void)types.find(t.name, t.kind);
    (void)skep::btf::declaration(types, id, "x");
    if (id < 100) (void)skep::btf::format_value(types, id, value);
    if (id < 100) (void)types.candidates(skep::btf::essential_name(t.name));
  }
  if (types.bytes().size() < 65536) {
    (void)skep::btf::dump_raw(types);
    (void)skep::btf::dump_c(types);
  }
  (void)skep::btf::Builder::copy_of(types).build();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const std::size_t cut = data[0] < 128 ? bytes.size() : bytes.size() * data[0] / 256;
  const std::vector<std::byte> front(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(cut));
  if (const auto unproved = Btf::parse(front, nullptr, skep::btf::Check::frame)) look_around(**unproved);
  const auto whole = Btf::parse(front);
  if (!whole) return 0;
  exercise(**whole);
  const auto rest = bytes.subspan(cut);
  (void)skep::btf::Ext::parse(rest, **whole);
  if (const auto split = Btf::parse({rest.begin(), rest.end()}, *whole)) exercise(**split);
  return 0;
}
