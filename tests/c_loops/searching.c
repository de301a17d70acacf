#include "loops.h"

ENDS(binary_search) {
  u32 lo = 0, hi = d->n;
  if (hi > 256) hi = 256;
  u32 key = d->key;
  while (lo < hi) {
    u32 mid = lo + (hi - lo) / 2;
    if (d->words[mid] < key)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

ENDS(binary_search_int) {
  int lo = 0, hi = 255;
  u32 key = d->key;
  while (lo <= hi) {
    int mid = (lo + hi) >> 1;
    u32 v = d->words[mid];
    if (v == key) return mid;
    if (v < key)
      lo = mid + 1;
    else
      hi = mid - 1;
  }
  return -1;
}

ENDS(binary_search_unsigned_sum) {
  u32 lo = 0, hi = 256;
  u32 key = d->key;
  while (lo < hi) {
    u32 mid = (lo + hi) >> 1;
    if (d->words[mid] < key)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

ENDS(binary_search_len) {
  u32 base = 0, len = 256, key = d->key;
  while (len > 1) {
    u32 half = len / 2;
    if (d->words[(base + half) & 255] <= key) base += half;
    len -= half;
  }
  return base;
}

ENDS(isqrt_search) {
  u32 v = d->n;
  u32 lo = 0, hi = 65536;
  while (hi - lo > 1) {
    u32 m = (lo + hi) / 2;
    if ((u64)m * m <= v)
      lo = m;
    else
      hi = m;
  }
  return lo;
}

ENDS(find_byte) {
  const u8 *p = d->bytes, *e = p + sizeof(d->bytes);
  u8 c = d->key;
  while (p < e && *p != c) p++;
  return p - d->bytes;
}

ENDS(hash_probe) {
  u32 h = d->key * 2654435761u;
  for (u32 i = 0; i < 256; i++) {
    u32 s = (h + i) & 255;
    if (!d->words[s] || d->words[s] == d->key) return s;
  }
  return -1;
}

ENDS(hash_probe_quad) {
  u32 h = d->key, step = 1;
  while (step < 256) {
    u32 s = h & 255;
    if (!d->words[s]) return s;
    h += step;
    step++;
  }
  return -1;
}

ENDS(linked_list) {
  u32 i = d->key;
  u32 steps = 0;
  while (i < 128 && steps < 1000) {
    if (d->nodes[i].key == d->n) return i;
    i = d->nodes[i].next;
    steps++;
  }
  return -1;
}

ENDS(union_find) {
  u32 x = d->key & 127;
  u32 n = 0;
  while (d->nodes[x].next != x && n++ < 128) {
    x = d->nodes[x].next;
    if (x >= 128) return -1;
  }
  return x;
}

ENDS(trie) {
  u32 node = 0, i = 0;
  u32 key = d->key;
  while (i < 32) {
    u32 next = d->edges[node][key >> (31 - i) & 1];
    if (next == 0 || next >= 64) break;
    node = next;
    i++;
  }
  return node;
}

ENDS(bfs) {
  u32 head = 0, tail = 1;
  d->queue[0] = d->key & 63;
  d->seen[d->key & 63] = 1;
  while (head < tail) {
    if (head >= 64) break;
    u32 v = d->queue[head++] & 63;
    for (u32 k = 0; k < 4; k++) {
      u32 w = d->edges[v][k];
      if (w >= 64 || d->seen[w]) continue;
      d->seen[w] = 1;
      if (tail < 64) d->queue[tail++] = w;
    }
  }
  return tail;
}

ENDS(lru_scan) {
  u32 best = 0;
  u64 t = ~0ull;
  for (u32 i = 0; i < 256; i++) {
    if (!d->longs[i]) continue;
    if (d->longs[i] < t) {
      t = d->longs[i];
      best = i;
    }
  }
  d->longs[best] = bpf_ktime_get_ns();
  return best;
}

ENDS(two_pointer) {
  u32 i = 0, j = 255;
  while (i < j) {
    u64 s = (u64)d->words[i] + d->words[j];
    if (s == d->a) return i << 8 | j;
    if (s < d->a)
      i++;
    else
      j--;
  }
  return -1;
}

ENDS(ring_walk) {
  u32 head = d->n, tail = d->key, n = 0;
  while (head != tail && n < 4096) {
    d->result += d->words[head & 255];
    head++;
    n++;
  }
  return n;
}

struct frame {
  u64 back, code, lines;
};

ENDS(unwind) {
  u64 p = d->a;
  u32 n = 0;
  while (p && n < 127) {
    struct frame f;
    if (bpf_probe_read_user(&f, sizeof f, (void*)p)) break;
    d->longs[n++] = f.code;
    p = f.back;
  }
  return n;
}

ENDS(unwind_names) {
  u64 p = d->a;
  u32 n = 0;
  for (u32 i = 0; i < 75; i++) {
    struct frame f;
    if (!p) break;
    if (bpf_probe_read_user(&f, sizeof f, (void*)p)) break;
    long l = bpf_probe_read_user_str(d->bytes, 64, (void*)f.code);
    u32 h = 0;
    for (u32 k = 0; k < 64 && k < l; k++) h = h * 31 + d->bytes[k];
    d->words[n++] = h;
    p = f.back;
  }
  return n;
}

ENDS(strobe) {
  u32 off = 0;
  for (u32 i = 0; i < 100; i++) {
    u64 p;
    if (bpf_probe_read_user(&p, 8, (void*)(d->a + 8 * i))) continue;
    if (off > 1024 - 64) break;
    long l = bpf_probe_read_user_str(d->bytes + off, 64, (void*)p);
    if (l <= 0 || l > 64) continue;
    off += l;
  }
  return off;
}

// Nearly the same, and not one of them is safe on every input.

NOT(search_keeps_lo) {
  u32 lo = 0, hi = 256, key = d->key;
  while (lo < hi) {
    u32 mid = (lo + hi) / 2;
    if (d->words[mid & 255] < key)
      lo = mid;
    else
      hi = mid;
  }
  return lo;
}

NOT(search_upper_middle) {
  u32 lo = 0, hi = 255, key = d->key;
  while (lo < hi) {
    u32 mid = (lo + hi + 1) / 2;
    if (d->words[mid & 255] < key)
      lo = mid;
    else
      hi = mid;
  }
  return lo;
}

NOT(search_past_the_end) {
  u32 lo = 0, hi = 66, key = d->key;
  while (lo < hi) {
    u32 mid = (lo + hi) / 2;
    if (d->last[mid] < key)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

NOT(search_before_the_start) {
  int lo = 0, hi = 63;
  u32 key = d->key;
  while (lo <= hi) {
    int mid = (lo + hi) >> 1;
    if (d->last[mid - 1] < key)
      lo = mid + 1;
    else
      hi = mid - 1;
  }
  return lo;
}

NOT(search_open_end) {
  u32 lo = 0, hi = d->n, key = d->key;
  while (lo < hi) {
    u32 mid = lo + (hi - lo) / 2;
    if (d->last[mid] < key)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

NOT(search_quarter_stuck) {
  u32 lo = 0, hi = 256, key = d->key;
  while (hi - lo > 1) {
    u32 mid = lo + (hi - lo) / 4;
    if (d->words[mid & 255] <= key)
      lo = mid;
    else
      hi = mid;
  }
  return lo;
}

NOT(probe_for_ever) {
  u32 h = d->key;
  for (;;) {
    u32 v = d->words[h & 255];
    if (!v) return h;
    h++;
    d->result++;
  }
}

NOT(probe_step_of_zero) {
  u32 h = 0;
  while (h < 256) {
    if (!d->words[h & 255]) return h;
    h += d->key & 7;
    d->result++;
  }
  return -1;
}

NOT(list_without_steps) {
  u32 i = d->key, n = 0;
  while (i < 128) {
    n++;
    d->seen[n & 63] = 1;
    i = d->nodes[i].next;
  }
  return n;
}

NOT(find_without_steps) {
  u32 x = d->key & 127;
  while (d->nodes[x].next != x) {
    x = d->nodes[x].next & 127;
    d->result++;
  }
  return x;
}

NOT(ends_that_rest) {
  u32 i = 0, j = 255;
  while (i < j) {
    u32 s = d->words[i] + d->words[j];
    if (s < d->n)
      i++;
    else if (s > d->key)
      j--;
    d->result++;
  }
  return i;
}

NOT(ends_that_pass) {
  u32 i = 0, j = d->n & 63;
  while (i != j) {
    d->last[i] = d->last[j];
    i++;
    j--;
  }
  return i;
}

NOT(ends_that_turn) {
  u32 i = 0, j = 255;
  while (i < j) {
    if (d->words[i & 255] < d->words[j & 255])
      i++, j++;
    else
      i--, j--;
    d->result++;
  }
  return i;
}

NOT(walk_from_user) {
  u64 p = d->a;
  u32 n = 0;
  while (p) {
    u64 next;
    if (bpf_probe_read_user(&next, sizeof next, (void*)p)) break;
    d->longs[n++ & 255] = p;
    p = next;
  }
  return n;
}

NOT(queue_refilled) {
  u32 head = 0, tail = 1;
  while (head < tail) {
    u32 v = d->queue[head & 63] & 63;
    head++;
    if (d->edges[v][0] < 64) {
      d->queue[tail & 63] = d->edges[v][0];
      tail++;
    }
  }
  return tail;
}

NOT(strobe_too_long) {
  u32 off = 0;
  for (u32 i = 0; i < 100; i++) {
    u64 p;
    if (bpf_probe_read_user(&p, 8, (void*)(d->a + 8 * i))) continue;
    if (off > 2048) break;
    long l = bpf_probe_read_user_str(d->bytes + off, 4096, (void*)p);
    if (l > 0) off += l;
  }
  return off;
}
