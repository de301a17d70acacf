#include "loops.h"

ENDS(insertion32) {
  u32 a[32];
  for (int i = 0; i < 32; i++) a[i] = d->words[i];
  for (int i = 1; i < 32; i++) {
    u32 v = a[i];
    int j = i;
    while (j > 0 && a[j - 1] > v) {
      a[j] = a[j - 1];
      j--;
    }
    a[j] = v;
  }
  for (int i = 0; i < 32; i++) d->words[i] = a[i];
  return a[0];
}

ENDS(insertion_map) {
  for (int i = 1; i < 256; i++) {
    u32 v = d->words[i];
    int j = i - 1;
    while (j >= 0 && d->words[j] > v) {
      d->words[j + 1] = d->words[j];
      j--;
    }
    d->words[j + 1] = v;
  }
  return 0;
}

ENDS(insertion_map_n) {
  u32 n = d->n;
  if (n > 256) n = 256;
  for (u32 i = 1; i < n; i++) {
    u32 v = d->words[i];
    u32 j = i;
    while (j > 0 && d->words[j - 1] > v) {
      d->words[j] = d->words[j - 1];
      j--;
    }
    d->words[j] = v;
  }
  return 0;
}

ENDS(selection) {
  for (u32 i = 0; i < 127; i++) {
    u32 m = i;
    for (u32 j = i + 1; j < 128; j++)
      if (d->words[j] < d->words[m]) m = j;
    u32 t = d->words[i];
    d->words[i] = d->words[m];
    d->words[m] = t;
  }
  return 0;
}

ENDS(bubble) {
  for (u32 i = 0; i < 255; i++)
    for (u32 j = 0; j < 255 - i; j++)
      if (d->words[j] > d->words[j + 1]) {
        u32 t = d->words[j];
        d->words[j] = d->words[j + 1];
        d->words[j + 1] = t;
      }
  return 0;
}

ENDS(bubble_until) {
  bool swapped;
  u32 n = 64;
  do {
    swapped = false;
    for (u32 j = 0; j + 1 < n; j++)
      if (d->words[j] > d->words[j + 1]) {
        u32 t = d->words[j];
        d->words[j] = d->words[j + 1];
        d->words[j + 1] = t;
        swapped = true;
      }
    n--;
  } while (swapped && n > 1);
  return 0;
}

ENDS(heap_sort) {
  u32* a = d->words;
  for (int s = 127; s >= 0; s--) {
    u32 r = s;
    for (;;) {
      u32 c = 2 * r + 1;
      if (c >= 256) break;
      if (c + 1 < 256 && a[c] < a[c + 1]) c++;
      if (a[r] >= a[c]) break;
      u32 t = a[r];
      a[r] = a[c];
      a[c] = t;
      r = c;
    }
  }
  for (u32 e = 255; e > 0; e--) {
    u32 t = a[0];
    a[0] = a[e];
    a[e] = t;
    u32 r = 0;
    for (;;) {
      u32 c = 2 * r + 1;
      if (c >= e) break;
      if (c + 1 < e && a[c] < a[c + 1]) c++;
      if (a[r] >= a[c]) break;
      u32 t = a[r];
      a[r] = a[c];
      a[c] = t;
      r = c;
    }
  }
  return 0;
}

ENDS(shell_sort) {
  u32* a = d->words;
  for (u32 gap = 128; gap > 0; gap /= 2)
    for (u32 i = gap; i < 256; i++) {
      u32 v = a[i], j = i;
      while (j >= gap && a[j - gap] > v) {
        a[j] = a[j - gap];
        j -= gap;
      }
      a[j] = v;
    }
  return 0;
}

OPEN(quick_partition) {
  u32* a = d->words;
  u32 p = a[255];
  u32 i = 0;
  for (u32 j = 0; j < 255; j++)
    if (a[j] < p) {
      u32 t = a[i];
      a[i] = a[j];
      a[j] = t;
      i++;
    }
  u32 t = a[i];
  a[i] = a[255];
  a[255] = t;
  return i;
}

OPEN(merge) {
  u32 i = 0, j = 128, k = 0;
  while (i < 128 && j < 256) {
    if (d->words[i] <= d->words[j])
      d->longs[k++] = d->words[i++];
    else
      d->longs[k++] = d->words[j++];
  }
  while (i < 128) d->longs[k++] = d->words[i++];
  while (j < 256) d->longs[k++] = d->words[j++];
  return k;
}

ENDS(prefix_sum) {
  u64 s = 0;
  u32 n = d->n;
  if (n >= 256) return -1;
  for (u32 i = 0; i <= n; i++) {
    s += d->words[i];
    d->longs[i] = s;
  }
  return s;
}

ENDS(matrix) {
  u64 s = 0;
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) {
      u32 t = 0;
      for (int k = 0; k < 16; k++) t += d->words[i * 16 + k] * d->words[k * 16 + j];
      d->longs[i * 16 + j] = t;
    }
  return s;
}

ENDS(sieve) {
  u8* c = d->bytes;
  for (u32 i = 2; i < 1024; i++) c[i] = i | 1;
  for (u32 i = 2; i * i < 1024; i++)
    if (c[i])
      for (u32 j = i * i; j < 1024; j += i) c[j] = 0;
  return 0;
}

ENDS(levenshtein) {
  u8 row[33];
  u32 n = d->n, m = d->key;
  if (n > 32 || m > 32) return -1;
  for (u32 j = 0; j <= m; j++) row[j] = j;
  for (u32 i = 1; i <= n; i++) {
    u8 diag = row[0];
    row[0] = i;
    for (u32 j = 1; j <= m; j++) {
      u8 up = row[j];
      u8 c = diag + (d->bytes[i - 1] != d->out[j - 1]);
      u8 l = row[j - 1] + 1, u = up + 1;
      u8 b = c;
      if (l < b) b = l;
      if (u < b) b = u;
      row[j] = b;
      diag = up;
    }
  }
  return row[m];
}

OPEN(kmp) {
  u8 fail[32];
  fail[0] = 0;
  u32 k = 0;
  for (u32 i = 1; i < 32; i++) {
    while (k > 0 && d->out[k & 31] != d->out[i]) k = fail[(k - 1) & 31];
    if (d->out[k & 31] == d->out[i]) k++;
    fail[i] = k;
  }
  return k;
}

// Nearly the same, and not one of them is safe on every input.

NOT(insertion_without_start) {
  for (u32 i = 1; i < 64; i++) {
    u32 v = d->last[i], j = i;
    while (d->last[j - 1] > v) {
      d->last[j] = d->last[j - 1];
      j--;
    }
    d->last[j] = v;
  }
  return 0;
}

NOT(insertion_upwards) {
  for (u32 i = 1; i < 64; i++) {
    u32 v = d->last[i], j = i;
    while (j > 0 && d->last[j] > v) {
      d->last[j] = d->last[j - 1];
      j++;
    }
  }
  return 0;
}

NOT(insertion_one_more) {
  for (u32 i = 1; i <= 64; i++) {
    u32 v = d->last[i], j = i;
    while (j > 0 && d->last[j - 1] > v) {
      d->last[j] = d->last[j - 1];
      j--;
    }
    d->last[j] = v;
  }
  return 0;
}

NOT(selection_one_more) {
  for (u32 i = 0; i < 63; i++) {
    u32 m = i;
    for (u32 j = i + 1; j <= 64; j++)
      if (d->last[j] < d->last[m]) m = j;
    u32 t = d->last[i];
    d->last[i] = d->last[m];
    d->last[m] = t;
  }
  return 0;
}

NOT(bubble_until_sorted) {
  bool swapped;
  do {
    swapped = false;
    for (u32 j = 0; j < 63; j++)
      if (d->last[j] > d->last[j + 1]) {
        u32 t = d->last[j];
        d->last[j] = d->last[j + 1];
        d->last[j + 1] = t;
        swapped = true;
      }
  } while (swapped);
  return 0;
}

NOT(bubble_past_the_end) {
  for (u32 i = 0; i < 64; i++)
    for (u32 j = 0; j < 64 - i; j++)
      if (d->last[j] > d->last[j + 1]) {
        u32 t = d->last[j];
        d->last[j] = d->last[j + 1];
        d->last[j + 1] = t;
      }
  return 0;
}

NOT(heap_from_nothing) {
  u32 r = 0;
  for (;;) {
    u32 c = 2 * r;
    if (c >= 256) break;
    if (d->words[r] > d->words[c]) break;
    d->words[r] = d->words[c] + d->n;
    r = c;
  }
  return r;
}

NOT(heap_second_child) {
  for (u32 s = 0; s < 32; s++) {
    u32 r = s;
    for (;;) {
      u32 c = 2 * r + 1;
      if (c >= 64) break;
      if (d->last[c] < d->last[c + 1]) c++;
      if (d->last[r] >= d->last[c]) break;
      d->last[r] = d->last[c];
      r = c;
    }
  }
  return 0;
}

NOT(shell_gap_stays) {
  u32 gap = 64;
  while (gap > 0) {
    for (u32 i = gap; i < 256; i++) d->words[i & 255] += d->words[(i - gap) & 255];
    gap = (gap + 1) / 2;
  }
  return 0;
}

NOT(shell_wrong_stop) {
  for (u32 gap = 32; gap > 0; gap /= 2)
    for (u32 i = gap; i < 64; i++) {
      u32 v = d->last[i], j = i;
      while (j > 0 && d->last[j - gap] > v) {
        d->last[j] = d->last[j - gap];
        j -= gap;
      }
      d->last[j] = v;
    }
  return 0;
}

NOT(partition_stands) {
  u32 i = 0, j = 63, p = d->key;
  while (i <= j) {
    while (d->last[i & 63] < p) i++;
    while (d->last[j & 63] > p) j--;
    d->result++;
    if (i < j) {
      u32 t = d->last[i & 63];
      d->last[i & 63] = d->last[j & 63];
      d->last[j & 63] = t;
    }
  }
  return i;
}

NOT(merge_too_far) {
  u32 i = 0, j = 32, k = 0;
  while (i < 32 || j < 64) {
    d->last[k++] = i < 32 && d->last[i] < 5 ? d->last[i++] : d->last[j++];
  }
  return k;
}

NOT(sieve_from_zero) {
  for (u32 i = 0; i < 32; i++)
    if (d->bytes[i])
      for (u32 j = i * i; j < 1024; j += i) d->bytes[j] = 0;
  return 0;
}

NOT(sums_of_n) {
  u32 n = d->n;
  if (n > 64) return -1;
  for (u32 i = 0; i <= n; i++) d->last[i] += i;
  return 0;
}
