// Instructions and objects for tests, written by hand.
#pragma once
#include <skep/spec.hpp>
#include <string_view>

#include "btf/builder.hpp"
#include "elf/test_writer.hpp"
#include "spec/insn_codes.hpp"

namespace skep::spec {

using elf::TestWriter;
using Encoding = btf::Builder::Encoding;

inline Insn insn(u8 opcode, u8 dst = 0, u8 src = 0, s16 off = 0, s32 imm = 0) {
  Insn out;
  out.code = opcode;
  out.dst = dst & 0xf;
  out.src = src & 0xf;
  out.off = off;
  out.imm = imm;
  return out;
}
inline const Insn exit_insn = insn(0x95);
inline Insn mov(s32 value) { return insn(0xb7, 0, 0, 0, value); }
inline Insn call(s32 imm) { return insn(code::call, 0, code::call_function, 0, imm); }

inline constexpr u64 exec_flags = elf::flag_alloc | elf::flag_exec;

inline Result<ObjectSpec> read(const TestWriter& writer) {
  auto copy = writer;
  return ObjectSpec::from_bytes(copy.finish(), "/some/where/sample.bpf.o");
}

inline std::vector<std::byte> text_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  std::vector<std::byte> out(bytes.begin(), bytes.end());
  out.push_back(std::byte{0});
  return out;
}

}  // namespace skep::spec
