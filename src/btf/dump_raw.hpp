// Types as lines of text, one record each: `[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED`.
//
// The layout is bpftool's `btf dump ... format raw`, to the byte, so that scripts and eyes that know it feel at home.
#pragma once
#include "btf/btf.hpp"

namespace skep::btf {

/// bpftool's words: "SIGNED", "(none)"; "static"; "(anon)" for types without a name.
std::string_view encoding_text(const Btf::IntEncoding& encoding);
std::string_view linkage_text(u32 linkage);
std::string_view shown_name(std::string_view name);

/// Appends one type with its members, each line ending in a newline.
void dump_raw(const Btf& btf, u32 id, std::string& out);
/// All types of `btf` itself (without those of its base).
std::string dump_raw(const Btf& btf);

}  // namespace skep::btf
