"""Files made from objects: headers that compile and whose structs lie as the program's do, a loader built from one."""
import os
import pathlib
import random
import shutil
import subprocess
import tarfile
import unittest

from support import EXAMPLES, SOURCE, Case, can_use_kernel_bpf, main, need, need_clang

CMAKE = os.environ["CMAKE"]
CXX = os.environ["CXX"]
FLAGS = os.environ.get("SKEP_CXX_FLAGS", "").split()
CORPUS = pathlib.Path(os.environ.get("SKEP_CORPUS", SOURCE.parent / "shared/corpus"))
HEAD = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n"

# C and C++ alike: what the program sees beside what the header says.
SHAPES = """
struct bits { unsigned a : 3; unsigned b : 7; unsigned long long c : 40; int d; unsigned char e : 1; };
struct __attribute__((packed)) tight { char a; unsigned long long b; short c; };
struct holder { char a; struct tight b; char c; };
struct wide { char a; int b __attribute__((aligned(32))); };
union either { unsigned long long number; char text[12]; struct { short x, y; } pair; };
struct mixed { int kind; union { struct { int x; char y; }; unsigned long long z; }; union either u; struct wide w[2]; double f; };
"""
MEMBERS = {"bits": ["d"], "tight": ["b", "c"], "holder": ["b", "c"], "wide": ["b"], "either": ["text", "pair"], "mixed": ["kind", "x", "y", "z", "u", "w", "f"]}


class Skeleton(Case):
    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()

    def compile(self, text, *flags):
        result = subprocess.run([CXX, "-std=c++20", "-Wall", "-Wextra", "-Werror", *FLAGS, f"-I{SOURCE / 'include'}", f"-I{self.directory}", *flags, "-x", "c++", "-"],
                                input=text, text=True, capture_output=True, timeout=240)
        self.assertEqual(result.returncode, 0, result.stderr[:4000])

    def test_headers_of_examples_and_corpus_compile(self):
        objects = [path for path in sorted(EXAMPLES.rglob("*.bpf.c")) if "SEC(" in path.read_text()]
        self.assertGreater(len(objects), 4)
        for name in ["ebpf-samples-objects.tar.xz", "selftests-6.12-progs-objects.tar.xz"]:
            if not (CORPUS / name).exists():
                print(f"left out: {CORPUS / name} is absent")
                continue
            with tarfile.open(CORPUS / name) as archive:
                names = sorted(member.name for member in archive if member.name.endswith(".o"))[::12]
                archive.extractall(self.directory / "corpus", members=[archive.getmember(one) for one in names])
                objects += [self.directory / "corpus" / one for one in names]
        text, refused = "", []
        for number, path in enumerate(objects):
            result = self.skep("gen", "skeleton", path, "name", f"object{number}", "-o", self.directory / f"object{number}.hpp")
            if result.returncode == 0:
                text += f'#include "object{number}.hpp"  // {path}\n'
            else:
                refused.append(result.stderr)
        self.assertLess(len(refused), 1 + len(objects) // 12, refused)
        self.assertTrue(all("names no hook" in reason or "extern" in reason or "entries of" in reason for reason in refused), refused)
        self.compile(text, "-fsyntax-only")

    def test_structs_lie_as_in_the_program(self):
        maps = "".join(f'struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, {"union" if name == "either" else "struct"} {name}); }} m_{name} SEC(".maps");\n'
                       for name in MEMBERS)
        self.skep("gen", "skeleton", self.write("shapes.bpf.c", HEAD + SHAPES + maps + 'SEC("xdp") int p(void* ctx) { return 2; }\n'), "-o", self.directory / "shapes.hpp", check=0)
        asserts = "".join(f"static_assert(sizeof(c::{name}) == sizeof(shapes::{name}));\n" + "".join(
            f"static_assert(offsetof(c::{name}, {member}) == offsetof(shapes::{name}, {member}));\n" for member in members) for name, members in MEMBERS.items())
        bits = ("int main() { c::bits a{}; shapes::bits b{}; a.a = b.a = 5; a.b = b.b = 99; a.c = b.c = 0x123456789a; a.d = b.d = -2; a.e = b.e = 1;\n"
                " return __builtin_memcmp(&a, &b, sizeof a); }\n")
        binary = self.directory / "shapes"
        library = pathlib.Path(os.environ["SKEP_BUILD"]) / "libskep.a"
        (self.directory / "shapes.cpp").write_text('#include "shapes.hpp"\n#include <cstddef>\nnamespace c {' + SHAPES + "}\n" + asserts + bits)
        built = subprocess.run([CXX, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-Wno-invalid-offsetof", *FLAGS, f"-I{SOURCE / 'include'}", self.directory / "shapes.cpp", library, "-lfmt", "-o", binary],
                               text=True, capture_output=True)
        self.assertEqual(built.returncode, 0, built.stderr[:4000])
        self.assertEqual(subprocess.run([binary]).returncode, 0, "bit-fields lie elsewhere")

    def test_words_of_cpp_and_of_the_class(self):
        source = HEAD + """
struct class { int new; int public; int this; };
enum operator { template = 1, linux_ = -3 };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, enum operator); __type(value, struct class); } delete SEC(".maps");
struct open { struct open* next; int open; }; struct open load = {}; int rodata_ = 3; enum operator word = template; const volatile char namespace = 'x'; _Bool yes = 1;
SEC("xdp") int virtual(void* ctx) { return 2; }
"""
        self.skep("gen", "skeleton", self.write("words.bpf.c", source), "-o", self.directory / "words.hpp", check=0)
        self.compile('#include "words.hpp"\nint use(words& w) { w.bss->load.open = 1; w.data->word = words::template_; w.data->yes = false; w.rodata->namespace_ = 0;'
                     " words::class_ c{}; c.new_ = 1; return w.programs.virtual_.autoload && w.maps.delete_.name().empty() && c.this_; }\n", "-fsyntax-only")

    def test_errors(self):
        self.assertIn("expected an object file", self.skep("gen", "skeleton", check=2).stderr)
        self.assertIn("expected a C++ identifier", self.skep("gen", "skeleton", EXAMPLES / "minimal.bpf.c", "name", "class", check=2).stderr)
        self.assertIn("names no hook", self.skep("gen", "skeleton", EXAMPLES / "hello.bpf.c", check=1).stderr)
        self.assertIn("examples:", self.skep("gen", "--help", check=0).stdout)
        self.skep("gen", "skeleton", "/does/not/exist.o", check=1)

    def test_a_loader_with_its_object_inside(self):
        prefix, build = self.directory / "prefix", self.directory / "build"
        subprocess.run([CMAKE, "--install", os.environ["SKEP_BUILD"], "--prefix", prefix], check=True, capture_output=True)
        subprocess.run([CMAKE, "-S", EXAMPLES / "skeleton", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror {' '.join(FLAGS)}"],
                       check=True, capture_output=True, env=self.environment)
        built = subprocess.run([CMAKE, "--build", build], text=True, capture_output=True, env=self.environment)
        self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
        engines = [[]]
        if can_use_kernel_bpf():
            engines.append(["--kernel"])
        else:
            print("left out: the kernel engine takes CAP_BPF and a kernel with types")
        for engine in engines:
            result = subprocess.run([build / "exec_counts", *engine, "sh", "-c", "/bin/true; /bin/true"], text=True, capture_output=True, env=self.environment, timeout=60)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            self.assertRegex(result.stdout, rf"(?m)^uid {os.getuid()}: {'3' if not engine else '[0-9]+'}, from ")
            self.assertRegex(result.stdout, r"(?m)^all: 3$" if not engine else r"(?m)^all: \d+$")


FIRST = HEAD + """
struct pair { int a; long b; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, struct pair); } shared SEC(".maps");
extern struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, long); } of_second SEC(".maps");
extern int add(int x, struct pair* p);
extern int counter_second;
static int hidden = 5;
int counter_first = 1;
const volatile int limit = 10;
__weak int chosen(int x) { return x + 1; }
static __noinline int helper(int x) { hidden += x; return hidden; }
SEC("xdp") int first(struct xdp_md* ctx) {
  int key = 1; struct pair p = {.a = ctx->ingress_ifindex, .b = 2};
  bpf_map_update_elem(&shared, &key, &p, 0);
  long* v = bpf_map_lookup_elem(&of_second, &key);
  if (v) *v += counter_second;
  counter_first++;
  return add(limit, &p) + helper(3) + chosen(4);
}
"""
SECOND = HEAD + """
struct pair { int a; long b; };
extern struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, struct pair); } shared SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, int); __type(value, long); } of_second SEC(".maps");
static int hidden = 7;
int counter_second = 20;
extern int counter_first;
int chosen(int x) { return x + 100; }
__noinline int add(int x, struct pair* p) { if (!p) return 0; hidden++; return x + p->a + hidden + counter_first; }
static long count(__u32 i, void* ctx) { hidden += i; return 0; }
SEC("xdp") int second(struct xdp_md* ctx) {
  int key = 1;
  struct pair* p = bpf_map_lookup_elem(&shared, &key);
  bpf_loop(5, count, 0, 0);
  return p ? p->a : hidden;
}
"""


class Compiled(Case):
    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()

    def object(self, name, source):
        path = self.directory / f"{name}.o"
        self.skep("compile", self.write(f"{name}.bpf.c", source), "-o", path, check=0)
        return path


class Linked(Compiled):
    def test_programs_are_those_of_bpftool(self):
        first, second, linked = self.object("first", FIRST), self.object("second", SECOND), self.directory / "all.o"
        self.skep("gen", "object", linked, first, second, check=0)
        self.assertEqual(self.skep("verify", linked, check=0).stdout.count("accepted"), 2)
        self.skep("verify", "--rules", "kernel", linked, check=0)
        text = self.skep("disasm", linked, check=0).stdout
        self.assertIn("chosen", text)
        self.assertIn("w0 += 100", text, "the strong definition replaces the weak one")
        again = self.directory / "again"
        again.mkdir()
        self.skep("gen", "object", again / "all.o", linked, check=0)
        self.assertEqual(self.skep("disasm", again / "all.o", check=0).stdout, text, "linked once more it is the same")
        if not shutil.which("bpftool"):
            print("left out: bpftool is not installed, so its linker is not compared")
            return
        theirs = self.directory / "bpftool"
        theirs.mkdir()
        subprocess.run(["bpftool", "gen", "object", theirs / "all.o", first, second], check=True, capture_output=True)
        self.assertEqual(self.skep("disasm", theirs / "all.o", check=0).stdout, text)
        if can_use_kernel_bpf():
            pin = f"/sys/fs/bpf/skep-gen-test-{os.getpid()}"
            try:
                loaded = subprocess.run(["bpftool", "prog", "loadall", linked, pin], text=True, capture_output=True)
                if "bpf file system" not in loaded.stderr:
                    self.assertEqual(loaded.returncode, 0, loaded.stderr)
            finally:
                shutil.rmtree(pin, ignore_errors=True)

    def test_a_part_is_found_in_the_whole(self):
        library = self.object("library", HEAD + """
struct entry { long sum; char last[4]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, struct entry); } library_entries SEC(".maps");
int library_limit = 5;
long library_calls;
static int hidden = 3;
const volatile short library_pair[2] = {1, 2};
__noinline int library_count(int key) {
  struct entry fresh = {.sum = library_limit, .last = "new"};
  library_calls++; hidden++;
  return bpf_map_update_elem(&library_entries, &key, &fresh, 0);
}
SEC("xdp") int library_program(struct xdp_md *ctx) { return library_count(hidden + library_pair[1]); }
""")
        user = self.object("user", HEAD + """
int before = 7;
long also_before;
extern int library_count(int key);
SEC("xdp") int user_program(struct xdp_md *ctx) { also_before++; library_count(before); return 2; }
""")
        whole = self.directory / "whole.o"
        self.skep("gen", "object", whole, user, library, check=0)
        self.skep("gen", "subskeleton", library, "name", "library_part", "-o", self.directory / "library_part.hpp", check=0)
        self.assertNotIn("object_bytes", (self.directory / "library_part.hpp").read_text())
        prefix = self.directory / "prefix"
        subprocess.run([CMAKE, "--install", os.environ["SKEP_BUILD"], "--prefix", prefix], check=True, capture_output=True)
        (config,) = prefix.rglob("skep.pc")
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "skep"], text=True, capture_output=True, env=dict(os.environ, PKG_CONFIG_PATH=str(config.parent)))
        need(flags.returncode == 0, "pkg-config: " + flags.stderr.strip())
        source = self.write("uses_part.cpp", """
#include <cstdio>
#include <skep/backend.hpp>
#include "library_part.hpp"
static skep::Result<int> go(const char* file) {
  const auto spec = SKEP_TRY(skep::ObjectSpec::from_file(file));
  const auto engine = SKEP_TRY(skep::user_backend({.serve_control_socket = false}));
  auto object = SKEP_TRY(engine->load(spec));
  auto part = SKEP_TRY(library_part::of(spec, object));
  SKEP_TRY(part.variables.library_limit.set(40 + SKEP_TRY(part.variables.library_limit.get())));
  skep::TestRun run;
  run.data.resize(64);
  SKEP_TRY(SKEP_TRY(object.program("user_program")).test_run(run));
  SKEP_TRY(part.programs.library_program.test_run(run));
  const auto entry = SKEP_TRY(part.maps.library_entries.get(7));
  std::printf("%ld %s %ld %d\\n", static_cast<long>(entry.sum), entry.last, static_cast<long>(SKEP_TRY(part.variables.library_calls.get())),
              SKEP_TRY(part.variables.library_pair.get())[1]);
  return 0;
}
int main(int, char** arguments) {
  const auto done = go(arguments[1]);
  if (!done) std::printf("%s\\n", done.error().message.c_str());
  return done ? 0 : 1;
}
""")
        program = self.directory / "uses_part"
        built = subprocess.run([CXX, "-std=c++20", "-Wall", "-Wextra", "-Werror", *FLAGS, f"-I{self.directory}", source, "-o", program, *flags.stdout.split()],
                               text=True, capture_output=True, timeout=240)
        self.assertEqual(built.returncode, 0, built.stderr[:4000])
        self.assertEqual(subprocess.run([program, whole], text=True, capture_output=True, timeout=60).stdout, "45 new 2 2\n")
        self.assertEqual(subprocess.run([program, user], text=True, capture_output=True, timeout=60).returncode, 1)

    def test_disagreements_name_both_files(self):
        second = self.object("second", SECOND)
        for name, change in {"map": ("__type(value, long)", "__type(value, int)"), "counter_second": ("extern int counter_second", "extern long counter_second"),
                             "add": ("extern int add(int x, struct pair* p)", "extern int add(int x, struct pair* p, int more)")}.items():
            first = self.object(f"other_{name}", FIRST.replace(*change).replace("add(limit, &p)", "add(limit, &p, 1)" if name == "add" else "add(limit, &p)"))
            message = self.skep("gen", "object", self.directory / "bad.o", first, second, check=1).stderr
            self.assertIn(str(first), message)
            self.assertIn(str(second), message)
            self.assertIn("of_second" if name == "map" else name, message)
        licence = self.object("licence", SECOND.replace('"GPL"', '"MIT"'))
        self.assertIn("'MIT'", self.skep("gen", "object", self.directory / "bad.o", self.object("first", FIRST), licence, check=1).stderr)
        self.assertIn("is defined in", self.skep("gen", "object", self.directory / "bad.o", second, second, check=1).stderr)
        self.assertFalse((self.directory / "bad.o").exists())
        self.skep("gen", "object", self.directory / "bad.o", check=2)

    def test_changed_files_are_errors_or_objects(self):
        good, second, bad = self.object("first", FIRST).read_bytes(), self.object("second", SECOND), self.directory / "changed.o"
        chance = random.Random(5)
        for _ in range(60):
            data = bytearray(good)
            for _ in range(chance.randrange(1, 8)):
                data[chance.randrange(len(data))] = chance.choice([0, 255, chance.randrange(256)])
            bad.write_bytes(data)
            result = self.skep("gen", "object", self.directory / "out.o", bad, second)
            self.assertIn(result.returncode, (0, 1), result.stderr)
            if result.returncode == 0:
                self.assertIn(self.skep("verify", self.directory / "out.o").returncode, (0, 1, 2))


class SmallTypes(Compiled):
    SOURCE = HEAD + """
#include <bpf/bpf_core_read.h>
struct mm_struct { unsigned long start_code; } __attribute__((preserve_access_index));
struct task_struct { int pid; struct task_struct* real_parent; struct mm_struct* mm; char comm[16]; int not_there; } __attribute__((preserve_access_index));
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID };
SEC("raw_tp/sched_switch") int p(void* ctx) {
  struct task_struct* task = (void*)bpf_get_current_task();
  int size = bpf_core_type_size(struct task_struct) + bpf_core_enum_value(enum pid_type, PIDTYPE_TGID) + bpf_core_field_exists(task->not_there);
  return BPF_CORE_READ(task, real_parent, pid) + BPF_CORE_READ(task, mm, start_code) + BPF_CORE_READ(task, comm[3]) + size;
}
"""

    def test_relocations_are_answered_by_a_few_hundred_bytes(self):
        vmlinux = "/sys/kernel/btf/vmlinux"
        need(os.path.exists(vmlinux), "the kernel has no types (/sys/kernel/btf/vmlinux)")
        objects, small, smaller = [self.object("core", self.SOURCE)], self.directory / "small.btf", self.directory / "smaller.btf"
        result = self.skep("gen", "min_core_btf", vmlinux, small, *objects, check=0)
        self.assertRegex(result.stderr, r"\d+ types, \d+ bytes, for [1-9]\d* relocations")
        self.skep("gen", "min_core_btf", small, smaller, *objects, check=0)
        self.assertEqual(small.read_bytes(), smaller.read_bytes(), "nothing in it is unneeded")
        if not shutil.which("bpftool"):
            print("left out: bpftool is not installed, so sizes are not compared")
            return
        theirs = self.directory / "theirs.btf"
        subprocess.run(["bpftool", "gen", "min_core_btf", vmlinux, theirs, *objects], check=True, capture_output=True)
        self.assertLessEqual(small.stat().st_size, theirs.stat().st_size * 1.1)
        dump = subprocess.run(["bpftool", "btf", "dump", "file", small], text=True, capture_output=True)
        self.assertEqual(dump.returncode, 0, dump.stderr)
        self.assertIn("STRUCT 'task_struct'", dump.stdout)

    def test_every_object_of_the_corpus(self):
        archive = CORPUS / "selftests-6.12-progs-objects.tar.xz"
        need(archive.exists() and os.path.exists("/sys/kernel/btf/vmlinux"), f"{archive} or the kernel's types are absent")
        with tarfile.open(archive) as files:
            files.extractall(self.directory / "corpus")
        objects = [str(path) for path in sorted((self.directory / "corpus").rglob("*.o"))]
        self.assertGreater(len(objects), 100)
        answered = 0
        for path in [one for one in objects if "core" in one]:
            result = self.skep("gen", "min_core_btf", "/sys/kernel/btf/vmlinux", self.directory / "one.btf", path)
            self.assertEqual(result.returncode, 0, f"{path}: {result.stderr}")
            answered += 1
        self.assertGreater(answered, 5)


if __name__ == "__main__":
    main()
