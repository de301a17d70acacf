// What a source says before it is compiled.
#include "compile/scan.hpp"

#include <gtest/gtest.h>

#include "compile/prelude.hpp"

namespace skep::compile {
namespace {

TEST(Scan, DialectFollowsSections) {
  EXPECT_EQ(scan_source("int hello(void *ctx) { return 0; }").dialect, Dialect::bcc);
  EXPECT_EQ(scan_source("SEC(\"xdp\") int f(void *ctx) { return 0; }").dialect, Dialect::libbpf);
  EXPECT_EQ(scan_source("__attribute__((section(\"xdp\"))) int f(void *c) { return 0; }").dialect, Dialect::libbpf);
  EXPECT_EQ(scan_source("#include \"vmlinux.h\"\n").dialect, Dialect::libbpf);
  EXPECT_EQ(scan_source("# include <bpf/bpf_helpers.h>\n").dialect, Dialect::libbpf);
  EXPECT_EQ(scan_source("#include <linux/sched.h>\nBPF_HASH(x);").dialect, Dialect::bcc);
}

TEST(Scan, CommentsAndStringsDoNotCount) {
  EXPECT_EQ(scan_source("// SEC(\"xdp\")\n/* SEC(\"tc\") \n*/ int f(void *c);").dialect, Dialect::bcc);
  EXPECT_EQ(scan_source("char s[] = \"SEC(\\\"xdp\\\")\"; /* #include <bpf/x.h> */").dialect, Dialect::bcc);
  EXPECT_EQ(scan_source("/*\n#include \"vmlinux.h\"\n*/").dialect, Dialect::bcc);
  EXPECT_TRUE(scan_source("// TRACEPOINT_PROBE(a, b)").tracepoints.empty());
}

TEST(Scan, BlankingKeepsLinesAndLength) {
  const std::string source = "a /* x\ny */ b // c\n'\"' \"d\\\"e\" f\n\"unfinished\ng";
  const std::string blanked = blank_comments_and_strings(source);
  ASSERT_EQ(blanked.size(), source.size());
  EXPECT_EQ(std::count(blanked.begin(), blanked.end(), '\n'), std::count(source.begin(), source.end(), '\n'));
  EXPECT_EQ(blanked.find_first_of("xycde\"'"), std::string::npos);
  for (const char kept : {'a', 'b', 'f', 'g'}) EXPECT_NE(blanked.find(kept), std::string::npos) << kept;
}

TEST(Scan, EveryEndingIsSafe) {
  const std::string source =
      "#include \"a\"\n#define BPF_LICENSE GPL\nTRACEPOINT_PROBE(a, b) { e.perf_submit(args, &d, "
      "sizeof(d)); /* x */ // y\n } BPF_ARRAY_OF_MAPS(o, \"i\", 3); tracepoint__a__b 'x' \"y\\";
  for (std::size_t n = 0; n <= source.size(); ++n) {
    const Scan scan = scan_source(std::string_view(source).substr(0, n));
    EXPECT_LE(scan.tracepoints.size(), 1u);
  }
}

TEST(Scan, TracepointsOnceEach) {
  const auto scan = scan_source(
      "TRACEPOINT_PROBE(syscalls, sys_enter_openat) {}\nTRACEPOINT_PROBE ( sched ,\n sched_switch ) {}\n"
      "int tracepoint__syscalls__sys_enter_openat(struct tracepoint__syscalls__sys_enter_openat *args);");
  const std::vector<TracepointName> expected = {{"sched", "sched_switch"}, {"syscalls", "sys_enter_openat"}};
  EXPECT_EQ(scan.tracepoints, expected);
}

TEST(Scan, RecordCallsNameMapAndLastLine) {
  const auto scan =
      scan_source("f() {\n  events.perf_submit(ctx, &d,\n    sizeof(d));\n  ring . ringbuf_output(&d, 1, 0);\n}");
  ASSERT_EQ(scan.record_calls.size(), 2u);
  EXPECT_EQ(scan.record_calls[0].map, "events");
  EXPECT_EQ(scan.record_calls[0].line, 3u);
  EXPECT_EQ(scan.record_calls[1].map, "ring");
  EXPECT_EQ(scan.record_calls[1].line, 4u);
}

TEST(Scan, TwoMapsInOneLineAreLeftOut) {
  EXPECT_TRUE(scan_source("a.perf_submit(c, &d, 1); b.perf_submit(c, &d, 1);").record_calls.empty());
  EXPECT_EQ(scan_source("a.perf_submit(c, &d, 1); a.perf_submit(c, &d, 1);").record_calls.size(), 1u);
}

TEST(Scan, LicenceAndUapi) {
  EXPECT_EQ(scan_source("#define BPF_LICENSE Dual BSD/GPL // free\n").license, "Dual BSD/GPL");
  EXPECT_EQ(scan_source("#define BPF_LICENSE \"MIT\"\n").license, "MIT");
  EXPECT_FALSE(scan_source("#define OTHER GPL\n").license.has_value());
  EXPECT_TRUE(scan_source("int f(struct xdp_md *ctx) { return XDP_PASS; }").names_uapi);
  EXPECT_FALSE(scan_source("int f(void *ctx) { return 0; }").names_uapi);
}

TEST(Prelude, SaysOnlyWhatTheSourceNeeds) {
  EXPECT_EQ(prelude_text(scan_source("int hello(void *ctx) { return 0; }")).value(), "");
  EXPECT_EQ(prelude_text(scan_source("SEC(\"xdp\") int f(void *c) { m.perf_submit(a,b,c); }")).value(), "");
  const auto text = prelude_text(scan_source("BPF_ARRAY_OF_MAPS(outer, \"inner\", 4);\n#define BPF_LICENSE MIT\n"));
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("#define SKEP_INNER_OF_outer skep_map_inner\n"), std::string::npos);
  EXPECT_NE(text->find("#define SKEP_LICENSE \"MIT\"\n"), std::string::npos);
}

TEST(Prelude, LicenceCannotBreakOut) {
  const auto text = prelude_text(scan_source("#define BPF_LICENSE x\" \\\n"));
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, Code::invalid_argument);
}

}  // namespace
}  // namespace skep::compile
