/* A flow table: sixteen frames, each counted under its addresses and ports in a hash map, and by protocol in an array. */
#include "bench.h"

struct flow {
  u32 source, target, ports, protocol;
};
struct counters {
  u64 packets, bytes;
};
HASH(flows, struct flow, struct counters, 1024);
ARRAY(protocols, u64, 256);

PROGRAM(context) {
  const u8 *frame = PACKET(context), *end = PACKET_END(context);
  u32 counted = 0;
  for (int i = 0; i < frames; i++, frame += frame_bytes) {
    if (frame + frame_bytes > end) break;
    if (*(const u16 *)(frame + 12) != 0x0008) continue;
    struct flow flow = {*(const u32 *)(frame + 26), *(const u32 *)(frame + 30), *(const u32 *)(frame + 34), frame[23]};
    struct counters *known = LOOKUP(flows, &flow);
    if (known) {
      known->packets++;
      known->bytes += frame_bytes;
    } else {
      struct counters fresh = {1, frame_bytes};
      UPDATE(flows, &flow, &fresh);
    }
    u64 *packets = LOOKUP(protocols, &flow.protocol);
    if (packets) *packets += 1;
    counted = counted * 31 + flow.ports + flow.protocol;
  }
  return counted;
}
