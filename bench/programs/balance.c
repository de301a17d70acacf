/* A load balancer: the first frame's addresses and ports choose a backend; its address, the hardware addresses, the time
   to live and the checksum are rewritten. Source for the checksum: RFC 1624. */
#include "bench.h"

struct backend {
  u32 address;
  u8 hardware[8];
};
ARRAY(backends, struct backend, 64);

static inline u32 fixed(u32 sum, u32 before, u32 after) {
  u32 s = (~sum & 0xffff) + (~before & 0xffff) + (~before >> 16 & 0xffff) + (after & 0xffff) + (after >> 16);
  s = (s & 0xffff) + (s >> 16);
  s = (s & 0xffff) + (s >> 16);
  return ~s & 0xffff;
}

PROGRAM(context) {
  u8 *frame = PACKET(context), *end = PACKET_END(context);
  if (frame + frame_bytes > end) return 1;
  if (*(u16 *)(frame + 12) != 0x0008 || frame[14] != 0x45) return 2;
  const u32 source = *(u32 *)(frame + 26), ports = *(u32 *)(frame + 34);
  u32 hash = source * 0xcc9e2d51u;
  hash = (rotate32(hash, 15) ^ ports) * 0x1b873593u;
  hash = (hash ^ hash >> 16 ^ frame[23]) * 0x85ebca6bu;
  const u32 index = hash >> 26;
  struct backend *to = LOOKUP(backends, &index);
  if (!to) return 3;
  if (to->address == 0) to->address = 10 | (index + 1) << 24;
  const u32 before = *(u32 *)(frame + 30);
  *(u16 *)(frame + 24) = fixed(*(u16 *)(frame + 24), before, to->address);
  *(u32 *)(frame + 30) = to->address;
  for (int i = 0; i < 6; i++) frame[6 + i] = to->hardware[i];
  frame[0] = index;
  frame[22] = 63;
  return index << 16 | *(u16 *)(frame + 24);
}
