// Implicit reads beside what they must give: BCC sources run in the kernel (BPF_PROG_TEST_RUN, so in this very
// process), and what they found is compared with what the process knows of itself.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <skep/backend.hpp>

#include "compile/compile.hpp"

namespace skep {
namespace {

class Reads : public ::testing::Test {
 protected:
  void SetUp() override {
    auto kernel = kernel_backend();
    if (!kernel) GTEST_SKIP() << "no kernel engine: " << kernel.error().message;
    if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) GTEST_SKIP() << "this kernel has no BTF";
    kernel_ = *std::move(kernel);
  }

  /// Runs `body` as the handler of a raw tracepoint; it stores its answers with PUT(index, value).
  /// `address` is what ADDRESS reads as.
  std::vector<u64> answers(const std::string& body, const void* address = nullptr, const std::string& before = "") {
    const std::string source =
        "BPF_ARRAY(answers, u64, 64);\nBPF_ARRAY(input, u64, 1);\n" + before +
        "\n#define PUT(i, v) ({ int slot = (i); u64 value = (u64)(v); answers.update(&slot, "
        "&value); })\nRAW_TRACEPOINT_PROBE(sys_enter) {\n  int zero = 0;\n"
        "  u64 *given = input.lookup(&zero);\n  if (!given) return 0;\n"
        "  u64 ADDRESS = *given;\n  struct task_struct *task = (void *)bpf_get_current_task();\n" +
        body + "\n  return 0;\n}\n";
    compile::CompileOptions options;
    options.use_cache = false;
    const auto spec = compile::load_text(source, "reads.c", options);
    EXPECT_TRUE(spec) << spec.error().message << source;
    if (!spec) return std::vector<u64>(64);
    auto object = kernel_->load(*spec);
    EXPECT_TRUE(object) << object.error().message << source;
    if (!object) return std::vector<u64>(64);
    const u32 zero = 0;
    const u64 value = reinterpret_cast<u64>(address);
    EXPECT_TRUE(object->map("input")->update(std::as_bytes(std::span(&zero, 1)), std::as_bytes(std::span(&value, 1))));
    TestRun run;
    run.context.resize(16);
    auto program = object->program("raw_tracepoint__sys_enter");
    const auto result = program->test_run(run);
    EXPECT_TRUE(result) << result.error().message;
    std::vector<u64> out(64);
    for (u32 i = 0; i < 64; ++i) out[i] = *object->map("answers")->get<u64>(i);
    return out;
  }

  std::unique_ptr<Backend> kernel_;
};

TEST_F(Reads, TheTaskAndItsRelatives) {
  char name[16] = "skep reads\xc3\xa4";
  ::prctl(PR_SET_NAME, name);
  char nodename[65] = {};
  ::gethostname(nodename, 64);
  const auto got = answers(R"(
    PUT(0, task->pid); PUT(1, task->tgid); PUT(2, task->real_parent->tgid);
    PUT(3, task->real_parent->real_parent == task->parent->real_parent);
    PUT(4, *(u64 *)&task->comm[0]); PUT(5, task->comm[11]);
    PUT(6, task->cred->uid.val);
    PUT(7, task->nsproxy->uts_ns->name.nodename[0]);
    PUT(8, task->signal->rlim[7].rlim_cur);
    PUT(9, task->group_leader->group_leader->pid);
    int depth = 0; struct task_struct *t = task;
    #pragma unroll
    for (int i = 0; i < 20; i++) { if (t->tgid == 1) break; t = t->real_parent; depth++; }
    PUT(10, depth);
  )");
  EXPECT_EQ(got[0], static_cast<u64>(::gettid()));
  EXPECT_EQ(got[1], static_cast<u64>(::getpid()));
  EXPECT_EQ(got[2], static_cast<u64>(::getppid()));
  EXPECT_EQ(got[3], 1u);
  u64 first = 0;
  std::memcpy(&first, name, 8);
  EXPECT_EQ(got[4], first);
  EXPECT_EQ(static_cast<char>(got[5]), name[11]);
  EXPECT_EQ(got[6], ::getuid());
  EXPECT_EQ(static_cast<char>(got[7]), nodename[0]);
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  EXPECT_EQ(got[8], files.rlim_cur);
  EXPECT_EQ(got[9], static_cast<u64>(::getpid()));
  EXPECT_GT(got[10], 0u);
}

TEST_F(Reads, BitFieldsOfTheKernel) {
  const auto body =
      "PUT(0, task->sched_reset_on_fork); PUT(1, task->in_execve); PUT(2, task->sched_contributes_to_load);";
  EXPECT_EQ(answers(body)[0], 0u);
  sched_param param{};
  ASSERT_EQ(::sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &param), 0);
  const auto got = answers(body);
  ::sched_setscheduler(0, SCHED_OTHER, &param);
  EXPECT_EQ(got[0], 1u);
  EXPECT_EQ(got[1], 0u);
}

TEST_F(Reads, FilesAndTheirNames) {
  char path[] = "/tmp/skep-read-XXXXXX";
  const int fd = ::mkstemp(path);
  ASSERT_GE(fd, 0);
  struct stat status{};
  ASSERT_EQ(::fstat(fd, &status), 0);
  const auto got = answers(R"(
    int fd = ADDRESS;
    struct file *file = task->files->fdt->fd[fd];
    PUT(0, file->f_inode->i_ino);
    PUT(1, *(u64 *)file->f_path.dentry->d_name.name);
    PUT(2, file->f_path.dentry->d_name.len);
    struct qstr name = file->f_path.dentry->d_name;
    PUT(3, name.len); PUT(4, name.name == file->f_path.dentry->d_name.name);
    PUT(5, file->f_path.dentry->d_name.name[fd - fd + 3]);
    PUT(6, file->f_inode->i_mode); PUT(7, file->f_flags & 3);
    PUT(8, task->mm->exe_file->f_path.dentry->d_name.name[0]);
  )",
                           reinterpret_cast<void*>(static_cast<u64>(fd)));
  const char* base = std::strrchr(path, '/') + 1;
  u64 first = 0;
  std::memcpy(&first, base, 8);
  EXPECT_EQ(got[0], status.st_ino);
  EXPECT_EQ(got[1], first);
  EXPECT_EQ(got[2], std::strlen(base));
  EXPECT_EQ(got[3], std::strlen(base));
  EXPECT_EQ(got[4], 1u);
  EXPECT_EQ(static_cast<char>(got[5]), base[3]);
  EXPECT_EQ(got[6], status.st_mode);
  EXPECT_EQ(got[7], static_cast<u64>(O_RDWR));
  char self[256] = {};
  ASSERT_GT(::readlink("/proc/self/exe", self, 255), 0);
  EXPECT_EQ(static_cast<char>(got[8]), std::strrchr(self, '/')[1]);
  ::close(fd);
  ::unlink(path);
}

TEST_F(Reads, SocketsUnionsAndMacrosOfHeaders) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd, 77), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const auto got =
      answers(R"(
    int fd = ADDRESS;
    struct file *file = task->files->fdt->fd[fd];
    struct socket *socket = file->private_data;
    struct sock *sk = socket->sk;
    PUT(0, sk->__sk_common.skc_num); PUT(1, sk->sk_family); PUT(2, inet_sk(sk)->inet_num);
    PUT(3, ntohs(inet_sk(sk)->inet_sport)); PUT(4, sk->sk_rcv_saddr); PUT(5, sk->sk_state == TCP_LISTEN);
    PUT(6, sk->sk_max_ack_backlog); PUT(7, sk->sk_protocol); PUT(8, sk->sk_type); PUT(9, sk->sk_reuse); PUT(13, sk->sk_reuseport); u8 raw = 0;
    bpf_probe_read_kernel(&raw, 1, (void *)&sk->__sk_common.skc_state + 1); PUT(14, raw & 15); PUT(15, raw >> 4 & 1);
    PUT(10, inet_csk(sk)->icsk_accept_queue.fastopenq.max_qlen); PUT(11, sk->sk_ipv6only);
    PUT(12, sk->__sk_common.skc_net.net == sock_net(sk));
  )",
              reinterpret_cast<void*>(static_cast<u64>(fd)), "#include <net/sock.h>\n#include <net/inet_sock.h>");
  EXPECT_EQ(got[0], ntohs(address.sin_port));
  EXPECT_EQ(got[1], static_cast<u64>(AF_INET));
  EXPECT_EQ(got[2], ntohs(address.sin_port));
  EXPECT_EQ(got[3], ntohs(address.sin_port));
  EXPECT_EQ(got[4], address.sin_addr.s_addr);
  EXPECT_EQ(got[5], 1u);
  EXPECT_EQ(got[6], 77u);
  EXPECT_EQ(got[7], static_cast<u64>(IPPROTO_TCP));
  EXPECT_EQ(got[8], static_cast<u64>(SOCK_STREAM));
  EXPECT_EQ(got[9], got[14]);
  EXPECT_EQ(got[13], got[15]);
  EXPECT_EQ(got[11], 0u);
  EXPECT_EQ(got[12], 1u);
  ::close(fd);
}

TEST_F(Reads, UserMemoryAndWhatIsNotThere) {
  const char text[] = "user text";
  const auto got = answers(R"(
    const char __user *text = (const char *)ADDRESS;
    PUT(0, text[0]); PUT(1, text[5]); PUT(2, *(u64 *)text);
    u64 *nowhere = (u64 *)0x10; PUT(3, *nowhere + 7);
    struct task_struct *none = (void *)(u64)(zero + 8); PUT(4, none->pid + 9);
    u64 i = 3; if (task->pid != 0) i = 6; PUT(5, text[i]);
  )",
                           text);
  EXPECT_EQ(static_cast<char>(got[0]), 'u');
  EXPECT_EQ(static_cast<char>(got[1]), 't');
  u64 first = 0;
  std::memcpy(&first, text, 8);
  EXPECT_EQ(got[2], first);
  EXPECT_EQ(got[3], 7u);
  EXPECT_EQ(got[4], 9u);
  EXPECT_EQ(static_cast<char>(got[5]), text[6]);
}

TEST_F(Reads, LoopsFunctionsAndManyLiveValues) {
  struct Node {
    Node* next;
    u32 value;
    s16 small;
    u8 bytes[5];
  };
  Node nodes[8];
  for (u32 i = 0; i < 8; ++i) {
    nodes[i] = {i < 7 ? &nodes[i + 1] : nullptr, i * 100 + 7, static_cast<s16>(-static_cast<s16>(i)), {}};
    for (u32 k = 0; k < 5; ++k) nodes[i].bytes[k] = static_cast<u8>(200 + i + k);
  }
  const auto got = answers(R"(
    struct node *n = (void *)ADDRESS;
    u64 sum = 0; s64 small = 0; u64 count = 0, bytes = 0;
    for (int i = 0; i < 10; i++) {
      if (!n) break;
      sum += n->value; small += n->small; bytes += n->bytes[i & 3]; count++;
      n = n->next;
    }
    PUT(0, sum); PUT(1, small); PUT(2, count); PUT(3, bytes);
    n = (void *)ADDRESS;
    PUT(4, weigh(n, n->next, n->value, n->next->value));
    PUT(5, far(n)); PUT(6, n->next->next->next->small);
    struct node copy = *n->next; PUT(7, copy.value + copy.bytes[4]); PUT(8, copy.next == n->next->next);
  )",
                           nodes, R"(
    struct node { struct node *next; u32 value; s16 small; u8 bytes[5]; };
    static u64 weigh(struct node *a, struct node *b, u32 x, u32 y) { return a->value * 3 + b->value * 5 + x * 7 + y * 11; }
    static __attribute__((noinline)) u64 far(struct node *a) { bpf_trace_printk("x"); return a->next->next->value + a->small; }
  )");
  u64 sum = 0, bytes = 0;
  s64 small = 0;
  for (u32 i = 0; i < 8; ++i) sum += nodes[i].value, small += nodes[i].small, bytes += nodes[i].bytes[i & 3];
  EXPECT_EQ(got[0], sum);
  EXPECT_EQ(static_cast<s64>(got[1]), small);
  EXPECT_EQ(got[2], 8u);
  EXPECT_EQ(got[3], bytes);
  EXPECT_EQ(got[4], nodes[0].value * 3 + nodes[1].value * 5 + nodes[0].value * 7 + nodes[1].value * 11);
  EXPECT_EQ(got[5], nodes[2].value + nodes[0].small);
  EXPECT_EQ(static_cast<s64>(got[6]), nodes[3].small);
  EXPECT_EQ(got[7], nodes[1].value + nodes[1].bytes[4]);
  EXPECT_EQ(got[8], 1u);
}

TEST_F(Reads, PointersOfEitherKindOnOnePath) {
  const u64 there = 0x1122334455667788;
  const auto got = answers(R"(
    u64 here = 42; u64 *p = &here;
    if (task->pid > 0) p = (u64 *)ADDRESS;
    PUT(0, *p);
    p = given; if (task->tgid == 0) p = (u64 *)ADDRESS;
    PUT(1, *p);
  )",
                           &there);
  EXPECT_EQ(got[0], there);
  EXPECT_EQ(got[1], reinterpret_cast<u64>(&there));
}

/// Random structs of integers, bit-fields, arrays, unions and structs inside, in this process's memory.
class RandomStruct {
 public:
  explicit RandomStruct(u32 seed) : random_(seed) {
    text_ = "struct s {\n" + members(0, "") + "};\n";
    text_ += "struct holder { u64 before; struct s *to; };\n";
  }
  const std::string& text() const { return text_; }
  const std::vector<std::string>& fields() const { return fields_; }

 private:
  u32 below(u32 n) { return random_() % n; }
  std::string members(u32 depth, const std::string& path) {
    std::string out;
    const u32 count = 2 + below(5);
    for (u32 i = 0; i < count; ++i) {
      const std::string name = "m" + std::to_string(next_++);
      static const char* types[] = {"u8",  "s8",  "u16",  "s16", "u32",          "s32",
                                    "u64", "s64", "char", "int", "unsigned long"};
      static const u32 bits[] = {8, 8, 16, 16, 32, 32, 64, 64, 8, 32, 64};
      const u32 type = below(11);
      const u32 what = below(10);
      if (what < 4) {
        out += std::string(types[type]) + " " + name + ";\n";
        fields_.push_back(path + name);
      } else if (what < 7) {
        out += std::string(types[type]) + " " + name + " : " + std::to_string(1 + below(bits[type])) + ";\n";
        fields_.push_back(path + name);
      } else if (what < 9 || depth >= 2) {
        const u32 length = 1 + below(6);
        out += std::string(types[type]) + " " + name + "[" + std::to_string(length) + "];\n";
        fields_.push_back(path + name + "[" + std::to_string(below(length)) + "]");
      } else {
        const bool is_union = below(2) != 0, is_anonymous = below(2) != 0;
        out += std::string(is_union ? "union {\n" : "struct {\n") +
               members(depth + 1, is_anonymous ? path : path + name + ".") + "}" + (is_anonymous ? "" : " " + name) +
               ";\n";
      }
    }
    return out;
  }

  std::mt19937 random_;
  std::string text_;
  std::vector<std::string> fields_;
  u32 next_ = 0;
};

TEST_F(Reads, RandomStructsAreReadAsTheCompilerReadsThem) {
  for (u32 seed = 1; seed <= 12; ++seed) {
    const RandomStruct random(seed);
    const std::size_t count = std::min<std::size_t>(random.fields().size(), 12);
    // One copy on the stack, filled by a helper and read directly; the other read through its address, and through a
    // pointer that is itself read.
    std::string body =
        "struct s here = {}; bpf_probe_read_user(&here, sizeof(here), (void *)ADDRESS);\n"
        "struct s *there = (void *)ADDRESS; struct holder *h = (void *)(ADDRESS + 512);\n";
    for (std::size_t i = 0; i < count; ++i) {
      const std::string n = std::to_string(i), field = random.fields()[i];
      body += "PUT(" + n + ", here." + field + "); PUT(" + std::to_string(16 + i) + ", there->" + field + "); PUT(" +
              std::to_string(32 + i) + ", h->to->" + field + ");\n";
    }
    alignas(8) unsigned char bytes[528];
    std::mt19937 noise(seed * 7919);
    for (unsigned char& b : bytes) b = static_cast<unsigned char>(noise());
    const void* to = bytes;
    std::memcpy(bytes + 520, &to, 8);
    const auto got = answers(body, bytes, random.text());
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(got[16 + i], got[i]) << "seed " << seed << " " << random.fields()[i] << "\n" << random.text();
      EXPECT_EQ(got[32 + i], got[i]) << "seed " << seed << " " << random.fields()[i] << "\n" << random.text();
    }
  }
}

}  // namespace
}  // namespace skep
