#include "loops.h"

ENDS(length) {
  u32 n = 0;
  while (n < sizeof(d->bytes) && d->bytes[n]) n++;
  return n;
}

ENDS(length_within) {
  u32 n = d->n, i;
  if (n > 1024) n = 1024;
  for (i = 0; i < n; i++)
    if (!d->bytes[i]) break;
  return i;
}

ENDS(compare) {
  u32 i = 0;
  while (i < 1023 && d->bytes[i] && d->bytes[i] == d->out[i]) i++;
  return d->bytes[i] - d->out[i];
}

ENDS(compare_bytes) {
  u32 n = d->n;
  if (n > sizeof(d->out)) return -1;
  for (u32 i = 0; i < n; i++) {
    int x = d->bytes[i] - d->out[i];
    if (x) return x;
  }
  return 0;
}

ENDS(hash_string) {
  u32 h = 2166136261u;
  for (u32 i = 0; i < 1024; i++) {
    u8 c = d->bytes[i];
    if (!c) break;
    h = (h ^ c) * 16777619;
  }
  return h;
}

ENDS(utf8) {
  u32 i = 0, n = 0;
  while (i < sizeof(d->bytes) - 4) {
    u8 c = d->bytes[i];
    if (!c) break;
    i += c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    n++;
  }
  return n;
}

ENDS(varint) {
  u64 v = 0;
  u32 shift = 0, i = 0;
  while (i < 10) {
    u8 c = d->bytes[i++];
    v |= (u64)(c & 0x7f) << shift;
    shift += 7;
    if (!(c & 0x80)) break;
  }
  return v;
}

ENDS(varints) {
  u32 i = 0, n = 0;
  u64 sum = 0;
  while (i < 1000) {
    u64 v = 0;
    u32 shift = 0;
    u8 c;
    do {
      c = d->bytes[i++];
      v |= (u64)(c & 0x7f) << shift;
      shift += 7;
    } while ((c & 0x80) && i < 1024 && shift < 64);
    sum += v;
    n++;
  }
  return sum + n;
}

static inline int b64(u8 c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

ENDS(base64) {
  u32 o = 0, acc = 0, bits = 0;
  for (u32 i = 0; i < 1024; i++) {
    int v = b64(d->bytes[i]);
    if (v < 0) break;
    acc = acc << 6 | v;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      d->out[o++ & 1023] = acc >> bits;
    }
  }
  return o;
}

static inline int hexv(u8 c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

ENDS(hex_decode) {
  u32 o = 0;
  for (u32 i = 0; i + 1 < 1024; i += 2) {
    int h = hexv(d->bytes[i]), l = hexv(d->bytes[i + 1]);
    if (h < 0 || l < 0) break;
    d->out[o++] = h << 4 | l;
  }
  return o;
}

ENDS(hex_encode) {
  for (u32 i = 0; i < 512; i++) {
    d->out[2 * i] = "0123456789abcdef"[d->bytes[i] >> 4];
    d->out[2 * i + 1] = "0123456789abcdef"[d->bytes[i] & 15];
  }
  return 0;
}

ENDS(parse_number) {
  u32 i = 0;
  u64 v = 0;
  bool neg = false;
  while (i < 1023 && d->bytes[i] == ' ') i++;
  if (d->bytes[i] == '-') {
    neg = true;
    if (i < 1023) i++;
  }
  while (i < 1024 && d->bytes[i] >= '0' && d->bytes[i] <= '9') {
    v = v * 10 + (d->bytes[i] - '0');
    i++;
  }
  return neg ? -v : v;
}

ENDS(tlv) {
  u32 i = 0, n = 0;
  while (i + 2 <= 1024) {
    u8 t = d->bytes[i], l = d->bytes[i + 1];
    if (t == 0) break;
    i += 2;
    if (i + l > 1024) return -1;
    if (t == d->key && l >= 4) n++;
    i += l;
  }
  return n;
}

OPEN(dns_name) {
  u32 i = 12, o = 0;
  while (i < 512) {
    u8 len = d->bytes[i++];
    if (!len) break;
    if (len > 63 || i + len > 512) return -1;
    for (u32 k = 0; k < len; k++) {
      if (o < 255) d->out[o++] = d->bytes[i + k];
    }
    if (o < 255) d->out[o++] = '.';
    i += len;
  }
  return o;
}

ENDS(dns_pointers) {
  u32 i = 12, jumps = 0, n = 0;
  while (i < 1023 && jumps < 10) {
    u8 len = d->bytes[i];
    if (!len) break;
    if ((len & 0xc0) == 0xc0) {
      i = (len & 0x3f) << 8 | d->bytes[i + 1];
      jumps++;
    } else {
      i += len + 1;
      n++;
      if (n > 128) break;
    }
  }
  return n;
}

ENDS(http_header) {
  u32 i = 0;
  while (i + 4 <= 1024) {
    if (d->bytes[i] == '\r' && d->bytes[i + 1] == '\n' && d->bytes[i + 2] == '\r' && d->bytes[i + 3] == '\n')
      return i + 4;
    i++;
  }
  return -1;
}

ENDS(http_lines) {
  u32 i = 0, lines = 0;
  while (i < 1024) {
    u32 s = i;
    while (i < 1024 && d->bytes[i] != '\n') i++;
    if (i == s) break;
    lines++;
    i++;
  }
  return lines;
}

ENDS(checksum) {
  u32 s = 0, n = d->n;
  if (n > 1024) n = 1024;
  u32 i;
  for (i = 0; i + 1 < n; i += 2) s += d->bytes[i] << 8 | d->bytes[i + 1];
  if (i < n) s += d->bytes[i] << 8;
  while (s >> 16) s = (s & 0xffff) + (s >> 16);
  return ~s & 0xffff;
}

ENDS(reverse) {
  u32 n = d->n;
  if (n > 1024) n = 1024;
  if (!n) return 0;
  u32 i = 0, j = n - 1;
  while (i < j) {
    u8 t = d->bytes[i];
    d->bytes[i] = d->bytes[j];
    d->bytes[j] = t;
    i++;
    j--;
  }
  return n;
}

ENDS(reverse_strlen) {
  int n = 0;
  while (n < 1023 && d->bytes[n]) n++;
  for (int i = 0, j = n - 1; i < j; i++, j--) {
    u8 t = d->bytes[i];
    d->bytes[i] = d->bytes[j];
    d->bytes[j] = t;
  }
  return n;
}

// Nearly the same, and not one of them is safe on every input.

NOT(length_without_end) {
  u32 n = 0;
  while (d->tail[n]) n++;
  return n;
}

NOT(length_one_more) {
  u32 n = 0;
  while (n <= sizeof(d->tail) && d->tail[n]) n++;
  return n;
}

NOT(compare_of_n) {
  u32 n = d->n;
  for (u32 i = 0; i < n; i++) {
    int x = d->bytes[i] - d->tail[i];
    if (x) return x;
  }
  return 0;
}

NOT(utf8_of_nothing) {
  u32 i = 0, n = 0;
  while (i < 1020) {
    u8 c = d->bytes[i];
    i += c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 0;
    n++;
    d->result++;
  }
  return n;
}

NOT(utf8_past_the_end) {
  u32 i = 0, n = 0;
  while (i < sizeof(d->tail)) {
    u8 c = d->tail[i];
    if (c > 0xe0) n += d->tail[i + 1];
    i += c < 0x80 ? 1 : 2;
  }
  return n;
}

NOT(varint_round_again) {
  u32 i = 0;
  u64 v = 0;
  u8 c;
  do {
    c = d->bytes[i];
    v += c;
    i = (i + 1) & 1023;
    d->result++;
  } while (c & 0x80);
  return v;
}

NOT(varint_back) {
  u32 i = 0, n = 0;
  while (i < 1000) {
    u8 c = d->bytes[i];
    if (c & 0x80)
      i -= c & 0x7f;
    else
      i++;
    if (i > 1000) break;
    n++;
    d->result++;
  }
  return n;
}

NOT(tlv_length_of_nothing) {
  u32 i = 0, n = 0;
  while (i + 2 <= 1024) {
    n += d->bytes[i] == d->key;
    i += d->bytes[i + 1];
    d->result++;
  }
  return n;
}

NOT(tlv_unchecked) {
  u32 i = 0, n = 0;
  while (i + 2 <= sizeof(d->tail)) {
    u8 l = d->tail[i + 1];
    n += d->tail[i + l];
    i += l + 2;
  }
  return n;
}

NOT(dns_jumps_for_ever) {
  u32 i = 12, n = 0;
  while (i < 1023) {
    u8 len = d->bytes[i];
    if (!len) break;
    if ((len & 0xc0) == 0xc0)
      i = (len & 3) << 8 | d->bytes[i + 1];
    else
      i += len + 1;
    n++;
    d->result++;
  }
  return n;
}

NOT(dns_jumps_counted_late) {
  u32 i = 12, jumps = 0;
  while (i < 1023 && jumps < 10) {
    u8 len = d->bytes[i];
    if (len == 0xc0)
      i = d->bytes[i + 1];
    else if (len > 0xc0) {
      i = len;
      jumps++;
    } else
      i += 1;
    d->result++;
  }
  return jumps;
}

NOT(lines_that_start_over) {
  u32 i = 0, lines = 0;
  while (i < 1024) {
    while (i < 1024 && d->bytes[i] != 10) i++;
    lines++;
    if (i < 1024 && d->bytes[i] == d->key)
      i = 0;
    else
      i++;
    d->result++;
  }
  return lines;
}

NOT(base64_skips) {
  u32 i = 0, o = 0;
  while (i < 1024) {
    u8 c = d->bytes[i];
    if (c < '+') {
      o++;
      d->result++;
      continue;
    }
    i++;
  }
  return o;
}

NOT(hex_of_one_too_many) {
  u32 o = 0;
  for (u32 i = 0; i < 128; i++) {
    d->tail[o++] = d->bytes[i] >> 4;
    d->tail[o++] = d->bytes[i] & 15;
  }
  return o;
}

NOT(checksum_of_odd) {
  u32 n = d->n & 1023, s = 0, i = 0;
  while (n) {
    s += d->bytes[i & 1023];
    i++;
    n -= 2;
    d->result++;
  }
  return s;
}

NOT(reverse_of_nothing) {
  u32 n = d->n;
  if (n > 64) return 0;
  u32 i = 0, j = n - 1;
  while (i < j) {
    u8 t = d->tail[i];
    d->tail[i] = d->tail[j];
    d->tail[j] = t;
    i++;
    j--;
  }
  return n;
}

NOT(reverse_until_equal) {
  u32 n = d->n & 63;
  u32 i = 0, j = n;
  while (i != j) {
    u8 t = d->tail[i];
    d->tail[i] = d->tail[j];
    d->tail[j] = t;
    i++;
    j--;
  }
  return n;
}
