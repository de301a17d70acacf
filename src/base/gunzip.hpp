// Unpacking gzip: /proc/config.gz, and the objects of built-in tools.
//
// DEFLATE is a bit stream of blocks: stored bytes, or Huffman codes for bytes and for (length, distance) copies from
// what was already written. The code lengths are given; the codes follow from them (canonical Huffman).
// Source: RFC 1951 (DEFLATE), RFC 1952 (gzip).
#pragma once
#include <skep/result.hpp>
#include <span>
#include <string>

namespace skep::base {

/// The content of one gzip member. Errors: malformed; limit, when it would be larger than `limit_bytes`.
/// The checksum at the end is not compared.
Result<std::string> gunzip(std::span<const std::byte> bytes, std::size_t limit_bytes = 16u << 20);

}  // namespace skep::base
