// What a person writes after `skep argdist -C` or `-H`: a place, what to collect there, and when.
//
//   p:c:malloc(size_t size):size_t:size:size==16      r:c:read(int fd):u64:$latency/1000:$entry(fd)==3#us of reads
//   t:block:block_rq_complete():u32:args->nr_sector   u:/usr/bin/python3:function__return():char*,char*:arg1,arg2
//
// The grammar is BCC's: {p,r,t,u}:[LIBRARY|CATEGORY]:NAME(SIGNATURE)[:TYPE[,...]:EXPRESSION[,...][:FILTER]][#LABEL].
// Expressions are those of trace (kit/probe_text.hpp), and here: at returns $retval, $entry(PARAMETER) and $latency
// (ns); in filters STRCMP("TEXT", STRING), true where the string begins with the text. Source: BCC's argdist(8).
#pragma once
#include <string>
#include <vector>

#include "kit/probe_text.hpp"

namespace skep::tools {

struct Specifier {
  std::string text;   ///< as it was written
  std::string label;  ///< "" without one
  ProbeText place;    ///< its predicate is the filter
  bool is_histogram = false;
  std::vector<std::string> types;  ///< "char*" is a string; what no type can be said of counts calls
  std::vector<std::string> values;
  bool counts_calls = false;  ///< nothing is collected

  bool is_text(std::size_t i) const { return types[i] == "char*"; }
  /// The i-th value's name for people: $entry(x) is x.
  std::string shown(std::size_t i) const;
};

/// Errors: invalid_argument, saying what was found and what was expected.
Result<Specifier> parse_specifier(std::string_view text, bool is_histogram);

/// Which tasks: 0 for any; those of a command that the kernel's hooks must pick out (tree_source()).
struct WantedTask {
  int pid = 0, tid = 0;
  bool of_tree = false;
};

/// Keys of counts: a bit for each value, set where it has a sign; then the values, numbers of 8 bytes or texts of
/// `string_bytes` (a multiple of 8). Values: u64.
struct KeyLayout {
  std::size_t string_bytes;
  std::size_t size_of(const Specifier& specifier) const;
};

/// C in BCC's dialect: the map counts_NUMBER, the program probe_NUMBER and, where it must know the entry,
/// begin_NUMBER. Errors: invalid_argument ($entry of an unknown parameter, a word of returns elsewhere).
Result<std::string> generate(const Specifier& specifier, std::size_t number, KeyLayout layout, WantedTask wanted);

}  // namespace skep::tools
