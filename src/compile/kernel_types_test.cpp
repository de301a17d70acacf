// Types cut out of a small BTF, names read off a source, and whole sources against this kernel.
#include "compile/kernel_types.hpp"

#include <algorithm>
#include <set>

#include "btf/builder.hpp"
#include "compile/kernel_header.hpp"
#include "compile/relocation_path.hpp"
#include "compile/scan.hpp"
#include "compile/source_names.hpp"
#include "compile/test_support.hpp"
#include "compile/wide_handlers.hpp"

namespace skep::compile {
namespace {

using btf::Builder;

/// struct inner { int x; };
/// struct node { int id; struct node *next; struct other *other; struct inner inner; unsigned bits : 3, more : 5;
///               char tail[200]; };  enum color { RED, GREEN = 7 };  typedef struct node node_t;
class Types : public ::testing::Test {
 protected:
  Types() {
    const u32 integer = b_.add_int("int", 4, Builder::Encoding::signed_);
    const u32 word = b_.add_int("unsigned int", 4);
    const u32 character = b_.add_int("char", 1, Builder::Encoding::char_);
    const Builder::NewMember x[] = {{"x", integer, 0, 0}};
    const u32 inner = b_.add_struct("inner", 4, x);
    const Builder::NewMember secret[] = {{"secret", integer, 0, 0}};
    const u32 other = b_.add_struct("other", 4, secret);
    const u32 to_node = b_.add_pointer(0);
    const u32 to_other = b_.add_pointer(other);
    const u32 tail = b_.add_array(character, word, 200);
    const Builder::NewMember members[] = {
        {"id", integer, 0, 0},  {"next", to_node, 64, 0}, {"other", to_other, 128, 0}, {"inner", inner, 192, 0},
        {"bits", word, 224, 3}, {"more", word, 227, 5},   {"tail", tail, 256, 0}};
    const u32 node = b_.add_struct("node", 232, members);
    b_.set_type(to_node, node);
    b_.add_modifier(btf::Kind::typedef_, "node_t", node);
    const btf::Enumerator colors[] = {{"RED", 0}, {"GREEN", 7}};
    b_.add_enum("color", 4, false, colors);
  }

  KernelTypes types(std::string_view source, const NameSet& macros = {}) {
    SourceNames names;
    names.add(source);
    TypeWishes wishes;
    wishes.tags = names.tags;
    wishes.words = names.words;
    wishes.defined = names.defined;
    wishes.source_tags = names.defined_tags;
    wishes.macros = macros;
    auto btf = b_.build();
    EXPECT_TRUE(btf) << btf.error().message;
    auto out = kernel_types(**btf, wishes);
    EXPECT_TRUE(out) << out.error().message;
    return out ? *std::move(out) : KernelTypes{};
  }
  static bool has(const KernelTypes& types, std::string_view text) {
    return types.text.find(text) != std::string::npos;
  }

  Builder b_;
};

TEST_F(Types, MembersThatTheSourceNamesAtTheirPlaces) {
  const auto got = types("u64 f(struct node *n) { return n->id; }");
  EXPECT_TRUE(has(got, "struct __attribute__((preserve_access_index)) node {\n\tint id;\n")) << got.text;
  EXPECT_TRUE(has(got, "char __pad_8[224];")) << got.text;
  for (const char* absent : {"next", "other", "inner", "bits", "color", "node_t"})
    EXPECT_FALSE(has(got, absent)) << absent << got.text;
}

TEST_F(Types, GapsOfUnnamedRecordsHaveNamesOfTheirOwn) {
  // struct packet { struct { int far[100], cb; }; struct { int near[100], mark; }; union { int big[100]; int hash; };
  // };
  const u32 integer = b_.add_int("int", 4, Builder::Encoding::signed_);
  const u32 many = b_.add_array(integer, integer, 100);
  const Builder::NewMember first[] = {{"far", many, 0, 0}, {"cb", integer, 3200, 0}};
  const Builder::NewMember second[] = {{"near", many, 0, 0}, {"mark", integer, 3200, 0}};
  const Builder::NewMember third[] = {{"big", many, 0, 0}, {"hash", integer, 0, 0}};
  const Builder::NewMember members[] = {{"", b_.add_struct("", 404, first), 0, 0},
                                        {"", b_.add_struct("", 404, second), 3232, 0},
                                        {"", b_.add_union("", 400, third), 6464, 0}};
  b_.add_struct("packet", 1208, members);
  const auto got = types("int f(struct packet *p) { return p->cb + p->mark + p->hash; }");
  std::set<std::string> names;
  std::size_t gaps = 0;
  for (std::size_t at = 0; (at = got.text.find("char __", at)) != std::string::npos; ++at, ++gaps)
    names.insert(got.text.substr(at, got.text.find('[', at) - at));
  EXPECT_EQ(gaps, 3u) << got.text;
  EXPECT_EQ(names.size(), gaps) << got.text;
}

TEST_F(Types, PointersAreFollowedByName) {
  const auto near = types("struct node *n; n->id");
  EXPECT_FALSE(has(near, "secret"));
  const auto far = types("struct node *n; n->other->secret");
  EXPECT_TRUE(has(far, "struct other *other;")) << far.text;
  EXPECT_TRUE(has(far, "other {\n\tint secret;\n}")) << far.text;
  const auto by_value = types("struct node *n; n->inner.x");
  EXPECT_TRUE(has(by_value, "struct inner inner;")) << by_value.text;
  EXPECT_TRUE(has(by_value, "inner {\n\tint x;\n}")) << by_value.text;
}

TEST_F(Types, BitFieldsStandApart) {
  const auto got = types("struct node *n; n->more");
  EXPECT_TRUE(has(got, "\tstruct {\n\t\tchar: 3;\n\t\tunsigned int more: 5;\n\t} __attribute__((packed));\n"))
      << got.text;
}

TEST_F(Types, WhatTheSourceDefinesIsItsOwn) {
  const auto got = types("struct inner { long mine; }; struct node *n; n->inner.mine; n->id");
  EXPECT_FALSE(has(got, "inner")) << got.text;
  EXPECT_TRUE(has(got, "int id;")) << got.text;
  EXPECT_FALSE(has(types("enum mine { RED }; struct node *n; RED"), "RED"));
  EXPECT_FALSE(has(types("typedef int node_t; node_t x;"), "node_t"));
  EXPECT_FALSE(has(types("#define id 3\nstruct node *n; id", {"id"}), "int id;"));
}

TEST_F(Types, EnumeratorsAndTypedefsByTheirNames) {
  const auto got = types("GREEN; node_t *n; n->id");
  EXPECT_TRUE(has(got, "GREEN = 7")) << got.text;
  EXPECT_FALSE(has(got, "RED")) << got.text;
  EXPECT_TRUE(has(got, "typedef struct node node_t;")) << got.text;
  EXPECT_EQ(got.found, (NameSet{"GREEN", "node_t"}));
  EXPECT_EQ(types("struct node *a; struct nowhere *b;").missing, NameSet{"nowhere"});
}

TEST_F(Types, ModulesAreAskedForWhatTheKernelLacks) {
  test::TemporaryDirectory directory;
  const auto write = [&](const char* name, const std::vector<std::byte>& bytes) {
    directory.write(name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  write("vmlinux", b_.bytes());
  auto base = b_.build();
  ASSERT_TRUE(base);
  // Split BTF: its ids and strings continue those of the kernel. An empty module is a header only.
  write("damaged", {std::byte{1}, std::byte{2}});
  const auto alone = kernel_btf_with({"nowhere"}, directory.path());
  ASSERT_TRUE(alone) << alone.error().message;
  EXPECT_EQ((*alone)->base(), nullptr);
  EXPECT_FALSE(kernel_btf_with({}, directory.path() / "absent"));
}

TEST(SourceNames, BeginningsOfPastedNames) {
  SourceNames names;
  names.add("#define MAP(kind) BPF_MAP_TYPE_##kind\n#define AT(a, b) a ## b\nint x;\n");
  EXPECT_EQ(names.beginnings, (NameSet{"BPF_MAP_TYPE_", "a"}));
}

TEST(SourceNames, AreToldApart) {
  SourceNames names;
  names.add(blank_comments_and_strings(
      "#include <linux/sched.h>\n#define LIMIT 3\n#define MAX(a, b) ((a) > (b) ? (a) : (b))\n"
      "struct mine { struct theirs *x; };\ntypedef struct { int a; } mine_t;\ntypedef int (*callback)(int z);\n"
      "enum kind { FIRST = 1, SECOND };\nBPF_HASH(counts, u32, struct key);\n"
      "BPF_TABLE(\"hash\", u32, u64, table, 10);\n// struct comment\n"
      "static int helper(int x) { return x; }\nint declared(int);\nint f(void *ctx) { if (1) {} return helper(2); "
      "}\n"));
  EXPECT_EQ(names.defined_tags, (NameSet{"mine", "kind"}));
  EXPECT_EQ(names.tags, (NameSet{"mine", "theirs", "kind", "key"}));
  for (const char* name : {"LIMIT", "MAX", "mine_t", "callback", "FIRST", "SECOND", "counts", "table", "helper", "f"})
    EXPECT_EQ(names.defined.count(name), 1u) << name;
  for (const char* name : {"u32", "key", "declared", "x", "sched", "comment"})
    EXPECT_EQ(names.defined.count(name), 0u) << name;
  EXPECT_EQ(names.macros, NameSet{"LIMIT"});
  EXPECT_EQ(names.called.count("helper"), 1u);
  EXPECT_EQ(names.called.count("f"), 0u);
  EXPECT_EQ(names.called.count("declared"), 0u);
  EXPECT_EQ(names.words.count("sched"), 0u);
}

TEST(SourceNames, OddTextsAreReadToTheirEnd) {
  const std::string text =
      "struct { typedef (*( enum { A, ] } BPF_X((( #define\n#define Q\\\nstruct x{typedef int y[3] BPF_TABLE(1,2";
  for (std::size_t n = 0; n <= text.size(); ++n) {
    SourceNames names;
    names.add(std::string_view(text).substr(0, n));
  }
}

TEST(WideHandlers, BecomeLocals) {
  EXPECT_EQ(rewrite_wide_handlers("int f(struct pt_regs *ctx, int a, int b, int c, int d) { return 0; }"), "");
  EXPECT_EQ(rewrite_wide_handlers("int f(int a, int b, int c, int d, int e, int g) { return 0; }"), "");
  const std::string source =
      "int syscall__mount(struct pt_regs *ctx, char *from,\n  char *const to, int a, u64 flags, void *data)\n{\n  "
      "return a;\n}\n";
  const std::string got = rewrite_wide_handlers(source);
  EXPECT_EQ(std::count(got.begin(), got.end(), '\n'), std::count(source.begin(), source.end(), '\n'));
  EXPECT_NE(got.find("(struct pt_regs *ctx"), std::string::npos) << got;
  EXPECT_NE(got.find("{ char * from = (char *)SKEP_CALLERS_ARGUMENT(ctx, 1);"), std::string::npos) << got;
  EXPECT_NE(got.find("u64 flags = (u64)SKEP_CALLERS_ARGUMENT(ctx, 4);"), std::string::npos) << got;
  for (std::size_t n = 0; n <= source.size(); ++n) (void)rewrite_wide_handlers(source.substr(0, n));
}

TEST(SourceTree, OwnHeadersAreReadAndKernelPathsCollected) {
  test::TemporaryDirectory directory;
  directory.write("own.h", "#include <net/sock.h>\nstruct from_own { struct sock *sk; };\n");
  directory.write("flags/linux/mine.h", "#define MINE 1\n");
  const std::vector<std::string> cflags = {"-I", (directory.path() / "flags").native()};
  const auto tree = read_source_tree(
      "#include \"own.h\"\n#include <linux/mine.h>\n#include <linux/fs.h> // yes\n/* #include <linux/no.h> */\n"
      "# include <uapi/linux/ptrace.h>\n#include <string.h>\n#include <linux/../../etc/x.h>\n",
      directory.path(), cflags);
  EXPECT_EQ(tree.texts.size(), 3u);
  EXPECT_EQ(tree.kernel_paths, (std::vector<std::string>{"linux/fs.h", "net/sock.h", "uapi/linux/ptrace.h"}));
}

TEST(SourceTree, MacrosStandForTagsAndNames) {
  if (!std::filesystem::exists("/sys/kernel/btf/vmlinux")) GTEST_SKIP() << "this kernel has no BTF";
  const std::vector<std::string> cflags = {"-w", "-DCTXTYPE=xdp_md", "-D", "RETURNCODE=XDP_DROP", "-DFLAG"};
  const auto tree = read_source_tree(
      "#define OTHER task_struct\n#define ANOTHER OTHER\n"
      "int f(struct CTXTYPE *ctx, struct ANOTHER *t) { return RETURNCODE + FLAG; }",
      ".", cflags);
  const auto got = kernel_header(tree);
  ASSERT_TRUE(got) << got.error().message;
  for (const char* wanted : {"xdp_md {", "task_struct {", "XDP_DROP"})
    EXPECT_NE(got->find(wanted), std::string::npos) << wanted << "\n" << *got;
}

class Kernel : public test::EachClang {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/sys/kernel/btf/vmlinux")) GTEST_SKIP() << "this kernel has no BTF";
  }
};

TEST_P(Kernel, MembersAreRelocated) {
  const auto spec = load(
      "#include <linux/sched.h>\nBPF_ARRAY(a, u64, 1);\nint f(struct pt_regs *ctx, struct task_struct *t) {\n"
      "  int z = 0; u64 v = t->real_parent->tgid; a.update(&z, &v); return 0; }\n");
  ASSERT_TRUE(spec) << spec.error().message;
  const ProgramSpec& program = spec->programs[0];
  ASSERT_EQ(program.relocations.size(), 2u);
  for (const CoreRelocation& r : program.relocations) EXPECT_EQ(program.insns[r.insn].code, 0x07) << r.insn;
  EXPECT_EQ(std::count_if(program.insns.begin(), program.insns.end(),
                          [](const Insn& i) { return i == Insn{.code = 0x85, .imm = 4}; }),
            2);
}

TEST_P(Kernel, HeadersOfAnyKindMacrosAndFunctions) {
  const auto spec = load(R"(
    #include <uapi/linux/ptrace.h>
    #include <linux/fs.h>
    #include <net/inet_sock.h>
    #include <net/tcp.h>
    #include <linux/version.h>
    #include <stdint.h>
    #if LINUX_VERSION_CODE < KERNEL_VERSION(4, 0, 0)
    #error "no such kernel"
    #endif
    #ifndef CONFIG_SMP
    #error "one CPU"
    #endif
    BPF_HASH(h, struct sockaddr_in6, u64);
    int f(struct pt_regs *ctx, struct sock *sk, struct dentry *d) {
      struct sockaddr_in6 key = {.sin6_family = AF_INET6};
      uint64_t sum = inet_sk(sk)->inet_num + tcp_sk(sk)->snd_cwnd + (S_ISREG(d->d_inode->i_mode) ? PAGE_SIZE : HZ);
      struct inode *inode = container_of(d, struct inode, i_mode);
      if (sk->sk_state == TCP_LISTEN) sum += ntohs(sk->sk_dport) + READ_ONCE(sk->sk_family) + inode->i_ino;
      key.sin6_addr.s6_addr32[0] = sum;
      h.increment(key);
      return 0;
    })");
  EXPECT_TRUE(spec) << spec.error().message;
}

TEST_P(Kernel, WhatAProgramKnowsByGuessIsTheKernels) {
  const auto spec = load(R"(
    #include <net/sock.h>
    #include <linux/bio.h>
    struct cfs_rq_partial {
        struct load_weight load;
        unsigned long runnable_weight;
        unsigned int nr_running, h_nr_running;
    };
    #ifndef bio_dev
    #error "a macro of every kernel"
    #endif
    int f(struct pt_regs *ctx, struct sock *sk, struct bio *bio) {
      struct task_struct *task = (struct task_struct *)bpf_get_current_task();
      struct cfs_rq_partial *queue = (struct cfs_rq_partial *)task->se.cfs_rq;
      bpf_trace_printk("%d %d", *(u8 *)((u64)&sk->sk_gso_max_segs - 3), queue->nr_running);
      return bio_dev(bio) == 0;
    })");
  ASSERT_TRUE(spec) << spec.error().message;
  std::set<std::string> names;
  for (const CoreRelocation& relocation : spec->programs.at(0).relocations)
    if (const auto field = relocated_field(*spec->btf, relocation)) names.emplace(field->name);
  EXPECT_TRUE(names.contains("sk_protocol"));
  EXPECT_TRUE(names.contains("nr_queued") || names.contains("nr_running"));
  EXPECT_FALSE(names.contains("sk_gso_max_segs"));
}

TEST_P(Kernel, ASourcesOwnStructWins) {
  const auto spec = load(
      "struct mount { int mine; };\nstruct dentry { int also_mine; };\nint f(struct pt_regs *ctx, struct file *file) "
      "{\n"
      "  struct mount m = {1}; struct dentry *d = (void *)file; bpf_trace_printk(\"%d\", m.mine + d->also_mine);\n"
      "  return file->f_path.mnt != 0; }\n");
  EXPECT_TRUE(spec) << spec.error().message;
}

TEST_P(Kernel, StoresIntoTheKernelAreRefusedWithTheirLine) {
  const auto spec =
      load("int f(struct pt_regs *ctx, struct task_struct *t) {\n  int x = t->pid;\n  t->tgid = x;\n  return 0;\n}\n");
  ASSERT_FALSE(spec);
  EXPECT_NE(spec.error().message.find("line 3: `t->tgid = x;` writes through a pointer"), std::string::npos)
      << spec.error().message;
}

TEST_P(Kernel, AFullStackIsExplained) {
  // Of some size on the compiler still has room for its variables, and the reads have none.
  std::string explained;
  for (int size = 504; size >= 440 && explained.empty(); size -= 8) {
    const auto spec = load("int f(struct pt_regs *ctx, struct task_struct *t) {\n  char b[" + std::to_string(size) +
                           "];\n  bpf_probe_read(b, sizeof(b), t);\n"
                           "  return b[3] + t->pid * t->tgid + t->real_parent->pid * t->real_parent->tgid;\n}\n");
    if (!spec && spec.error().message.find("needs") != std::string::npos) explained = spec.error().message;
  }
  EXPECT_NE(explained.find("line 4: `return b[3]"), std::string::npos) << explained;
  EXPECT_NE(explained.find("BPF_PERCPU_ARRAY"), std::string::npos) << explained;
}

TEST_P(Kernel, TypedContextsAreReadDirectly) {
  const auto spec = load(
      "#include <linux/sched.h>\nBPF_HASH(h);\nKFUNC_PROBE(wake_up_new_task, struct task_struct *p) {\n"
      "  u64 k = p->real_parent->tgid; h.increment(k); return 0; }\n");
  ASSERT_TRUE(spec) << spec.error().message;
  for (const Insn& i : spec->programs[0].insns) EXPECT_FALSE(i.code == 0x85 && i.imm == 4);
}

/// The verifier takes the first member of a union for any: since Linux 6.4 iov_iter's kvec is a plain number to it.
TEST_P(Kernel, PointersOutOfUnionsAreReadByTheHelper) {
  const auto spec = load(
      "#include <linux/fs.h>\n#include <linux/uio.h>\nBPF_HASH(h);\n"
      "KFUNC_PROBE(tty_write, struct kiocb *iocb, struct iov_iter *from) {\n"
      "  const struct kvec *kvec = from->kvec; u64 k = kvec->iov_len; h.increment(k); return 0; }\n");
  ASSERT_TRUE(spec) << spec.error().message;
  const auto& insns = spec->programs[0].insns;
  EXPECT_EQ(std::ranges::count_if(insns, [](const Insn& i) { return i.code == 0x85 && i.imm == 4; }), 1);
}

TEST_P(Kernel, StaticProbesReadTheirArguments) {
  const auto spec = load(
      "BPF_HASH(h);\nint f(struct pt_regs *ctx) {\n  u64 a = 0; u32 b = 0; char text[16];\n"
      "  bpf_usdt_readarg(1, ctx, &a); bpf_usdt_readarg(2, ctx, &b);\n  bpf_usdt_readarg_p(3, ctx, text, "
      "sizeof(text));\n"
      "  a += b + text[0]; h.increment(a); return 0; }\n");
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_NE(spec->map("__bpf_usdt_specs"), nullptr);
}

SKEP_EACH_CLANG(Kernel);

}  // namespace
}  // namespace skep::compile
