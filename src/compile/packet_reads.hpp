// Fields of packet headers in the dialect of BCC: `ip->src`, where `ip` came from a cursor.
//
// Such a pointer is an offset in a packet that the program has no pointer to (a socket filter, a classifier), and the
// field is a big-endian number, maybe of a few bits. BCC's compiler replaces each access by a call; so does this, in
// the text, before clang reads it. Which pointers they are and where their fields lie follows from declarations alone:
// `struct ip_t *ip`, and `struct ip_t { ... } BPF_PACKET_HEADER;` (bpf/include/skep/packets.h, or the source's own).
#pragma once
#include <string>
#include <string_view>

namespace skep::compile {

inline constexpr std::string_view packets_header = "skep/packets.h";

/// Whether a source has to do with packets in this way: it includes packets_header then.
bool reads_packets(std::string_view clean);

/// The source with the accesses replaced, or "" when it has none. Line numbers stay.
std::string rewrite_packet_reads(std::string_view source);

}  // namespace skep::compile
