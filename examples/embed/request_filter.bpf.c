// What a server asks of a filter: may this request pass? One counter for each client, one helper of the server's.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct request {
  __u32 client;
  __u16 length;
  __u16 method;
  __u64 token;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 256);
  __type(key, __u32);
  __type(value, __u64);
} requests SEC(".maps");

// The server's own helper, by its number: what the secret of a client is.
static __u64 (*secret_of)(__u64 client) = (void*)1000;

SEC("syscall")
int pass(struct request* request) {
  if (request->method > 2 || request->length > 1024) return 0;
  if (request->token != secret_of(request->client)) return 0;
  __u32 slot = request->client & 255;
  __u64* count = bpf_map_lookup_elem(&requests, &slot);
  if (count) ++*count;
  return 1;
}

char LICENSE[] SEC("license") = "GPL";
