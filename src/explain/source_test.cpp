// Statements, functions and differences of a source; the search for a change with a judge that is no compiler.
#include "explain/source.hpp"

#include <gtest/gtest.h>

#include <random>

#include "explain/beyond_lines.hpp"
#include "explain/fix.hpp"

namespace skep::explain {
namespace {

constexpr const char* text =
    "static __always_inline int inner(struct { int a; } *x,\n"  // 1
    "                                 int n)\n"
    "{\n"
    "  if (n > 3)\n"
    "    return -1;\n"  // 5
    "  return f(x,\n"
    "           n);\n"
    "}\n"
    "\n"
    "SEC(\"xdp\")\n"  // 10
    "int entry(struct xdp_md *ctx) {\n"
    "  __u64 *value = lookup(&map,\n"
    "                        &key);\n"
    "  *value += 1;  // counts\n"
    "  return XDP_PASS;\n"  // 15
    "}\n";

TEST(Source, FindsStatementsAndFunctions) {
  const Source s(text);
  EXPECT_EQ(s.size(), 16u);
  EXPECT_EQ(s.text(), text);
  EXPECT_EQ(s.statement_begin(13), 12u);
  EXPECT_EQ(s.statement_end(12), 13u);
  EXPECT_EQ(s.statement(13), "__u64 *value = lookup(&map, &key);");
  EXPECT_EQ(s.statement_begin(5), 4u) << "a body without braces belongs to its if";
  const auto inner = s.function_at(6), entry = s.function_at(14);
  ASSERT_TRUE(inner && entry);
  EXPECT_EQ(inner->begin, 1u);
  EXPECT_EQ(inner->body, 3u);
  EXPECT_EQ(inner->end, 8u);
  EXPECT_EQ(entry->begin, 11u);
  EXPECT_FALSE(s.function_at(9));
  EXPECT_EQ(s.giving_up(*inner, 6, "return 0;"), "return -1;");
  EXPECT_EQ(s.giving_up(*entry, 14, "return 7;"), "return 7;");
  EXPECT_EQ(right_side(s.line(14)), "1");
}

TEST(Source, FindsFunctionsBehindTheirSection) {
  const Source s(
      "SEC(\"xdp\") int f(struct xdp_md *ctx) {\n  if (!ctx)\n    return XDP_DROP;\n  return XDP_PASS;\n}\n"
      "SEC(\"tc\")\nint g(struct __sk_buff *ctx) {\n  return 0;\n}\n"
      "SEC(\"xdp\") static void h(void) {\n  x();\n}\n"
      "static bool i(int *p) {\n  return *p;\n}\n"
      "static int j(int *p) {\n  if (!p)\n    return true;\n  return *p;\n}\n");
  ASSERT_TRUE(s.function_at(3) && s.function_at(8) && s.function_at(11));
  EXPECT_EQ(s.function_at(3)->begin, 1u);
  EXPECT_EQ(s.function_at(8)->begin, 7u);
  EXPECT_EQ(s.giving_up(*s.function_at(3), 4, "return 7;"), "return XDP_DROP;");
  EXPECT_EQ(s.giving_up(*s.function_at(11), 11, "return 7;"), "return;");
  EXPECT_EQ(s.giving_up(*s.function_at(14), 14, "return 7;"), "return false;");
  EXPECT_EQ(s.giving_up(*s.function_at(19), 19, "return 7;"), "return true;");
}

TEST(Source, WritesDifferencesThatPatchUnderstands) {
  const Source before(text);
  Source after = before;
  after.insert_before(14, "  if (!value) return 0;");
  after.replace(5, "    return 1;");
  EXPECT_EQ(
      unified_diff("x.c", before, after),
      "--- x.c\n+++ x.c\n@@ -4,3 +4,3 @@\n   if (n > 3)\n-    return -1;\n+    return 1;\n   return f(x,\n"
      "@@ -13,2 +13,3 @@\n                         &key);\n+  if (!value) return 0;\n   *value += 1;  // counts\n");
  EXPECT_EQ(unified_diff("x.c", before, before), "");
  Source appended = before;
  appended.insert_before(17, "end");
  EXPECT_EQ(unified_diff("x.c", before, appended), "--- x.c\n+++ x.c\n@@ -16,1 +16,2 @@\n }\n+end\n");
}

verify::Refused null_rejection() {
  auto d = std::make_shared<verify::Diagnosis>();
  d->variable = {"value", "__u64 *"};
  d->remedy = verify::Remedy::check_null;
  d->facts.origin_line = 12;
  verify::Rejection r;
  r.id = "maybe_null";
  r.source = SourceLine{0, "x.c", "  *value += 1;", 14, 3};
  return {r, d};
}

TEST(BeyondLines, FindTheHeadOfALoop) {
  const Source s(
      "int f(void) {\n  for (; n < 9;) {\n    if (a) {\n      b();\n    }\n    c();\n  }\n  while (x)\n    d();\n  "
      "e();\n}\n");
  const auto told = [&s](u32 line) {
    auto d = std::make_shared<verify::Diagnosis>();
    d->remedy = verify::Remedy::bound_loop;
    verify::Event e;
    e.is_cause = true;
    e.source = SourceLine{0, "x.c", s.line(line), line, 1};
    d->events.push_back(std::move(e));
    return with_source(d, s)->cause()->source->line;
  };
  EXPECT_EQ(told(4), 2u);
  EXPECT_EQ(told(6), 2u) << "behind a block of its own";
  EXPECT_EQ(told(9), 8u);
  EXPECT_EQ(told(10), 10u) << "in no loop";
  EXPECT_EQ(with_source(nullptr, s), nullptr);
}

TEST(Fix, ShowsOnlyWhatTheJudgeAccepts) {
  u32 asked = 0;
  const auto fix =
      find_fix(text, "x.c", null_rejection(), {}, [&](const std::string& changed) -> std::optional<Judgement> {
        asked++;
        return Judgement{changed.find("if (!value) return") != std::string::npos, std::nullopt};
      });
  ASSERT_TRUE(fix);
  EXPECT_EQ(asked, 1u);
  EXPECT_NE(fix->diff.find("+  if (!value) return"), std::string::npos);
  EXPECT_FALSE(find_fix(text, "x.c", null_rejection(), {}, [](const std::string&) { return Judgement{}; }));
  EXPECT_FALSE(find_fix(text, "x.c", null_rejection(), {}, [](const std::string&) { return std::nullopt; }));
}

TEST(Fix, EndsInTime) {
  FixOptions options;
  options.time_limit = std::chrono::milliseconds(0);
  u32 asked = 0;
  EXPECT_FALSE(find_fix(text, "x.c", null_rejection(), options, [&](const std::string&) {
    asked++;
    return Judgement{true, std::nullopt};
  }));
  EXPECT_EQ(asked, 0u);
  options = {};
  options.most_tries = 5;
  // A judge that always finds another mistake: the search does not go on for ever.
  EXPECT_FALSE(find_fix(text, "x.c", null_rejection(), options, [&](const std::string&) {
    verify::Refused next = null_rejection();
    next.rejection.id = "other" + std::to_string(++asked);
    return Judgement{false, next};
  }));
  EXPECT_LE(asked, 5u);
}

TEST(Fix, AnySourceAndAnyLineIsTaken) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; round++) {
    std::string mutated = text;
    for (u32 n = random() % 30; n > 0; n--) mutated[random() % mutated.size()] = "{}();=\n&*->x \"\0"[random() % 16];
    auto r = null_rejection();
    auto d = std::make_shared<verify::Diagnosis>(*r.diagnosis);
    d->remedy = static_cast<verify::Remedy>(random() % 25);
    d->facts.origin_line = random() % 20;
    d->facts.branch_line = random() % 20;
    d->facts.argument = static_cast<s32>(random() % 4);
    d->facts.release = "bpf_ringbuf_discard({}, 0)";
    d->facts.region_bytes = 8;
    d->events.push_back(
        {verify::Event::Role::lost, true, 0, "", SourceLine{0, "x.c", "", static_cast<u32>(random() % 20), 1}});
    r.diagnosis = d;
    r.rejection.source->line = random() % 20;
    (void)find_fix(mutated, "x.c", r, {}, [](const std::string&) { return std::nullopt; });
  }
}

}  // namespace
}  // namespace skep::explain
