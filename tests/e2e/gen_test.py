"""Files made from objects: headers that compile and whose structs lie as the program's do, a loader built from one."""
import os
import pathlib
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
        self.assertIn("example:", self.skep("gen", "--help", check=0).stdout)
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


if __name__ == "__main__":
    main()
