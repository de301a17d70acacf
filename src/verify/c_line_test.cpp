// Names out of lines of C, at the columns that compilers write; and lines that nobody should have written.
#include "verify/c_line.hpp"

#include <gtest/gtest.h>

#include <random>

namespace skep::verify::c_line {
namespace {

/// The column of '^' in `mark`, which stands under `text`.
std::string at(std::string_view text, std::string_view mark) {
  return expression_at(text, static_cast<u32>(mark.find('^')) + 1);
}

TEST(CLine, FindsTheExpressionAtAColumn) {
  EXPECT_EQ(at("  if (tcp->dest == 443)", "           ^"), "tcp->dest");
  EXPECT_EQ(at("  x = a->b.c[i].d;", "                ^"), "a->b.c[i].d");
  EXPECT_EQ(at("  value[index] = 1;", "  ^"), "value[index]");
  EXPECT_EQ(at("  *value += 1;", "  ^"), "*value");
  EXPECT_EQ(at("  return *(u32 *)(p + 4);", "         ^"), "*(u32 *)(p + 4)");
  EXPECT_EQ(at("  y = data + off;", "           ^"), "data + off");
  EXPECT_EQ(at("  y = x;", "    ^"), "y");
  EXPECT_EQ(at("  bpf_printk(x);", "  ^"), "bpf_printk");
  EXPECT_EQ(at("  return x;", "  ^"), "");
  EXPECT_EQ(at("  long m = *(unsigned long *)&skb->mark;", "           ^"), "*(unsigned long *)&skb->mark");
  EXPECT_EQ(at("  *n += skb->len;", "     ^"), "*n") << "what is changed, not what is added";
  EXPECT_EQ(at("  x = a <= b;", "        ^"), "a <= b");
  EXPECT_EQ(at("x", " ^"), "");
  EXPECT_EQ(expression_at("x", 0), "");
}

TEST(CLine, TakesExpressionsApart) {
  EXPECT_EQ(pointer_of("a->b->c"), "a->b");
  EXPECT_EQ(pointer_of("ip->addr.low"), "ip");
  EXPECT_EQ(pointer_of("v[3]"), "v");
  EXPECT_EQ(pointer_of("e->names[i]"), "e");
  EXPECT_EQ(pointer_of("*p"), "p");
  EXPECT_EQ(pointer_of("x"), "");
  EXPECT_EQ(index_of("h->slots[slot]"), "slot");
  EXPECT_EQ(index_of("t[i][3]"), "i");
  EXPECT_EQ(index_of("t[3]"), "");
  EXPECT_EQ(array_of("h->slots[slot]++", "slot"), "h->slots");
}

TEST(CLine, ReadsStatements) {
  EXPECT_EQ(assigned("  __u64 *value = bpf_map_lookup_elem(&m, &k);"), "value");
  EXPECT_EQ(assigned("  s->count += 2;"), "s->count");
  EXPECT_EQ(assigned("  if (a == b) return 0;"), "");
  EXPECT_EQ(assigned("  x <<= 2;"), "x");
  EXPECT_EQ(arguments_of("  r = f(a, g(b, c), d[e, f]);", "f"), (std::vector<std::string>{"a", "g(b, c)", "d[e, f]"}));
  EXPECT_TRUE(arguments_of("  f(a,", "f").empty());
  EXPECT_EQ(declared_type("  struct tcphdr *tcp = x;", "tcp"), "struct tcphdr *");
  EXPECT_EQ(declared_type("  for (__u32 i = 0; i < 3; i++)", "i"), "__u32");
  EXPECT_EQ(declared_type("  char text[64] = {};", "text"), "char[64]");
  EXPECT_EQ(declared_type("  return x;", "x"), "");
  EXPECT_EQ(declared_type("  __u32 row = f(1, 2), column = 3;", "column"), "__u32");
  EXPECT_EQ(declared_type("  void *data = a, *end = b;", "end"), "void *");
  EXPECT_EQ(declared_type("  f(a, b);", "b"), "");
  EXPECT_EQ(declared_type("  x = 1;", "x"), "");
}

TEST(CLine, SeesCastsAddressesAndLoops) {
  EXPECT_EQ(without_cast("(void *)(long)x"), "x");
  EXPECT_EQ(without_cast("(a + b)"), "(a + b)");
  EXPECT_EQ(without_cast("x"), "x");
  EXPECT_EQ(addressed("&data.comm"), "data.comm");
  EXPECT_EQ(word_at("int t->t", "t"), 4u);
  for (std::string_view head : {"for (;;) {", "} while (x);", "  while(1)", "do {", "bpf_for(i, 0, 4) {"})
    EXPECT_TRUE(heads_loop(head)) << head;
  for (std::string_view line : {"forward(x);", "if (x) {", "double y;", "", "dont"})
    EXPECT_FALSE(heads_loop(line)) << line;
}

TEST(CLine, FindsTheAssignmentOfAColumn) {
  const auto assigned_at = [](std::string_view text, std::string_view mark) {
    return assigned(text, static_cast<u32>(mark.find('^')) + 1);
  };
  EXPECT_EQ(assigned_at("u32 k = 0; u64 *v = look(&m, &k);", "                    ^"), "v");
  EXPECT_EQ(assigned_at("u32 k = 0; u64 *v = look(&m, &k);", "                ^"), "v");
  EXPECT_EQ(assigned_at("u32 k = 0; u64 *v = look(&m, &k);", "        ^"), "k");
  EXPECT_EQ(assigned_at("void *data = ctx->data, *end = ctx->data_end;", "                                    ^"),
            "end");
  EXPECT_EQ(assigned_at("void *data = ctx->data, *end = ctx->data_end;", "                  ^"), "data");
  EXPECT_EQ(assigned_at("a = 1, b = f(c = 2, g(x));", "                    ^"), "b");
  EXPECT_EQ(assigned_at("if (!(v = look(&m, &k)) && w = 1)", "          ^"), "v");
  EXPECT_EQ(assigned_at("v = look(&m, &k);", "                 ^"), "v");
  EXPECT_EQ(assigned("v = 1;", 4000), "v");
}

TEST(CLine, WritesNothingATerminalObeys) {
  EXPECT_EQ(printable("a\x1b[2Jb\rc\x7f"), "a\\x1b[2Jb\\x0dc\\x7f");
  EXPECT_EQ(printable("\t\xc3\xa4\xe2\x82\xac"), " \xc3\xa4\xe2\x82\xac");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m")
      << "a control sequence in one character";
  EXPECT_EQ(printable("\xff\xe2\x82"), "\\xff\\xe2\\x82");
  EXPECT_EQ(printable_lines("a\x01\nb\n"), "a\\x01\nb\n");
}

TEST(CLine, AnyTextIsRead) {
  std::mt19937 random(5);
  const std::string alphabet = "ab_1 \t()[]->.*&+=<;,\"'\x01\xff";
  for (int round = 0; round < 20000; round++) {
    std::string text(random() % 40, ' ');
    for (char& c : text) c = alphabet[random() % alphabet.size()];
    for (u32 column = 0; column <= text.size() + 1; column++) {
      (void)assigned(text, column);
      const std::string e = expression_at(text, column);
      (void)index_of(e);
      (void)array_of(text, pointer_of(e));
    }
    (void)declared_type(text, "a");
    (void)arguments_of(text, "a");
    (void)assigned(text);
    EXPECT_EQ(printable(text).find('\x01'), std::string::npos);
  }
}

}  // namespace
}  // namespace skep::verify::c_line
