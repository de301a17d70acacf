// Which reads are by a distance, and what becomes of them.
#include "compile/guessed_members.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace skep::compile {
namespace {

constexpr u32 linux_6_1 = 6 << 16 | 1 << 8, linux_6_14 = 6 << 16 | 14 << 8;

std::string rewritten(std::string_view source) { return rewrite_guessed_members(source, linux_6_1); }

TEST(GuessedMembers, AreReadByTheirName) {
  EXPECT_EQ(rewritten("p = *(u8 *)((u64)&newsk->sk_gso_max_segs - 3);"), "p = (newsk->sk_protocol);");
  EXPECT_EQ(rewritten("if (*(unsigned char*) ((unsigned long)&sk -> sk_wmem_queued\n - 1) == 6) g();"),
            "if ((sk->sk_protocol)\n == 6) g();");
  EXPECT_EQ(rewritten("a = *(u8 *)((u64)&s->sk_gso_max_segs - 3); b = *(u8 *)((u64)&t->sk_wmem_queued - 3); c"),
            "a = (s->sk_protocol); b = (t->sk_protocol); c");
}

TEST(GuessedMembers, WhatIsNoSuchReadStays) {
  for (const char* same :
       {"p = *(u8 *)((u64)&sk->sk_gso_max_segs - 4);", "p = *(u8 *)((u64)&sk->sk_gso_max_segs + 3);",
        "p = (u8 *)((u64)&sk->sk_gso_max_segs - 3);", "p = *(u8)((u64)&sk->sk_gso_max_segs - 3);",
        "p = *(u8 *)((u64)sk->sk_gso_max_segs - 3);", "p = *(u8 *)((u64)&sk->sk_gso_max_segs - 3 * n);",
        "// *(u8 *)((u64)&sk->sk_gso_max_segs - 3)\n", "g(\"*(u8 *)((u64)&sk->sk_gso_max_segs - 3)\");",
        "p = sk->sk_wmem_queued - 3;", "sk_wmem_queued", "sk_wmem_queued - 3)", ")-sk_gso_max_segs-3)", ""})
    EXPECT_EQ(rewritten(same), "") << same;
}

constexpr std::string_view queue =
    "struct cfs_rq_partial {\n struct load_weight load;\n unsigned int nr_running;\n};\n"
    "int f(struct task_struct *t, struct rq *rq) {\n struct cfs_rq_partial *q = NULL;\n"
    " q = (struct cfs_rq_partial *)t->se.cfs_rq;\n return q->nr_running + rq->nr_running; }";

TEST(GuessedMembers, StructuresBecomeTheKernels) {
  EXPECT_EQ(rewritten(queue),
            "\n\n\n\nint f(struct task_struct *t, struct rq *rq) {\n struct cfs_rq *q = NULL;\n"
            " q = (struct cfs_rq *)t->se.cfs_rq;\n return q->nr_running + rq->nr_running; }");
  EXPECT_NE(rewrite_guessed_members(queue, linux_6_14).find("return q->nr_queued + rq->nr_running;"),
            std::string::npos);
}

TEST(GuessedMembers, AStructureOfWhichTheSourceKeepsValuesIsItsOwn) {
  constexpr std::string_view own = "struct cfs_rq_partial { int nr_running; };";
  for (const char* use : {"BPF_HASH(queues, u32, struct cfs_rq_partial);", "struct cfs_rq_partial q = {};",
                          "int n = sizeof(struct cfs_rq_partial);", "struct all { struct cfs_rq_partial of[2]; };",
                          "int cfs_rq_partial;"})
    EXPECT_EQ(rewritten(fmt::format("{}\nstruct cfs_rq_partial *p;\n{}", own, use)), "") << use;
  EXPECT_EQ(rewritten(fmt::format("struct cfs_rq_partial;\n{}\nstruct cfs_rq_partial *p;", own)),
            "struct cfs_rq;\n\nstruct cfs_rq *p;");
}

TEST(GuessedMembers, WhatStandsInADefinitionGoesWithIt) {
  EXPECT_EQ(rewritten("struct cfs_rq_partial { int a[sizeof(*(u8 *)((u64)&s->sk_gso_max_segs - 3))]; }; int b;"),
            " int b;");
}

TEST(GuessedMembers, StructuresThatTheSourceDoesNotDefineStay) {
  for (const char* same : {"struct cfs_rq_partial *q;", "struct cfs_rq_partial;", "struct cfs_rq_partial {",
                           "struct cfs_rq_partial { int a; } q;", "union cfs_rq_partial { int a; };", "cfs_rq_partial",
                           "// struct cfs_rq_partial { int a; };\n"})
    EXPECT_EQ(rewritten(same), "") << same;
}

}  // namespace
}  // namespace skep::compile
