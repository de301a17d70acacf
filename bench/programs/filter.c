/* A packet filter as an administrator writes it, on sixteen frames: chains of comparisons with constants. */
#include "bench.h"

static inline u32 half(const u8 *p) { return *(const u16 *)p; }
static inline u32 word(const u8 *p) { return *(const u32 *)p; }

PROGRAM(context) {
  const u8 *frame = PACKET(context), *end = PACKET_END(context);
  u32 verdicts = 0;
  for (int i = 0; i < frames; i++, frame += frame_bytes) {
    if (frame + frame_bytes > end) break;
    u32 accept = 0;
    if (half(frame + 12) == 0x0008 && (frame[14] & 0xf0) == 0x40) {
      const u8 protocol = frame[23];
      const u32 from = word(frame + 26), to = word(frame + 30);
      const u32 port = half(frame + 36);
      if (protocol == 6 && (port == 0x5000 || port == 0xbb01 || port == 0x1600))
        accept = (from & 0xff) == 10 || (to & 0xffff) == 0xa8c0;
      else if (protocol == 17 && port == 0x3500)
        accept = (to & 0xff) != 127;
      else if (protocol == 1)
        accept = frame[34] == 8 || frame[34] == 0;
    } else if (half(frame + 12) == 0x0608) {
      accept = 1;
    }
    verdicts = verdicts << 1 | accept;
  }
  return verdicts;
}
