"""The library as a user of it: installed to a prefix, found by pkg-config and by CMake, its example built and run."""
import os
import shutil
import subprocess
import sys
import unittest

from support import EXAMPLES, Case, can_use_kernel_bpf, main, need, need_clang

CMAKE = os.environ["CMAKE"]
FLAGS = os.environ.get("SKEP_CXX_FLAGS", "")  # a library built with a sanitizer needs its users built with it


class Library(Case):
    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()
        cls.prefix = cls.directory / "prefix"
        subprocess.run([CMAKE, "--install", os.environ["SKEP_BUILD"], "--prefix", cls.prefix], check=True, capture_output=True)
        cls.object = cls.directory / "count_execs.bpf.o"
        subprocess.run([cls.prefix / "bin/skep", "compile", EXAMPLES / "count_execs.bpf.c", "-o", cls.object], check=True, env=cls.environment)

    def run_example(self, binary):
        result = subprocess.run([binary, self.object, "sh", "-c", "/bin/true; /bin/true"], text=True, capture_output=True, env=self.environment, timeout=30)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn(f"uid {os.getuid()}: 3\n", result.stdout)

    def test_example_is_short(self):
        self.assertLess(len((EXAMPLES / "count_execs.cpp").read_text().splitlines()), 40)

    def test_by_pkg_config(self):
        need(shutil.which("pkg-config"), "pkg-config is not installed (Debian package pkg-config)")
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "skep"], text=True, capture_output=True, check=True,
                               env=dict(os.environ, PKG_CONFIG_PATH=str(next(self.prefix.rglob("pkgconfig"))))).stdout.split()
        binary = self.directory / "by-pkg-config"
        subprocess.run([os.environ["CXX"], "-std=c++20", *FLAGS.split(), EXAMPLES / "count_execs.cpp", *flags, "-o", binary], check=True)
        self.run_example(binary)

    def test_a_server_in_c(self):
        need(shutil.which("pkg-config"), "pkg-config is not installed (Debian package pkg-config)")
        need(shutil.which("cc"), "no C compiler is installed as cc")
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "skep"], text=True, capture_output=True, check=True,
                               env=dict(os.environ, PKG_CONFIG_PATH=str(next(self.prefix.rglob("pkgconfig"))))).stdout.split()
        server, filter = self.directory / "request_server", self.directory / "request_filter.o"
        subprocess.run(["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", *FLAGS.split(), EXAMPLES / "embed" / "request_server.c", *flags, "-lstdc++", "-lm", "-o", server], check=True)
        subprocess.run([self.prefix / "bin/skep", "compile", EXAMPLES / "embed" / "request_filter.bpf.c", "-o", filter], check=True, env=self.environment)
        result = subprocess.run([server, filter], text=True, capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertRegex(result.stdout, r"(?m)^first verdict 1 after ")
        self.assertRegex(result.stdout, r"(?m)^eBPF filter +[\d.]+ ns a request, 17500 of 20000 passed$")
        self.assertRegex(result.stdout, r"(?m)^the same in C +[\d.]+ ns a request, 17500 of 20000 passed$")
        self.assertNotEqual(subprocess.run([server, self.object], capture_output=True).returncode, 0, "an object without the program")

    def test_by_cmake(self):
        project = self.directory / "project"
        project.mkdir()
        (project / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(user CXX)\nfind_package(skep REQUIRED)\n"
            f"add_executable(count_execs {EXAMPLES / 'count_execs.cpp'})\ntarget_link_libraries(count_execs skep::skep)\n")
        subprocess.run([CMAKE, "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_CXX_FLAGS={FLAGS}"], check=True, capture_output=True)
        subprocess.run([CMAKE, "--build", project / "build"], check=True)
        self.run_example(project / "build/count_execs")

    def test_bccs_way_in_cpp(self):
        build = self.directory / "bcc"
        subprocess.run([CMAKE, "-S", EXAMPLES / "bcc", "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_CXX_FLAGS={FLAGS}"], check=True, capture_output=True)
        subprocess.run([CMAKE, "--build", build], check=True, capture_output=True)

        def run(*command):
            return subprocess.run(list(map(str, command)), text=True, capture_output=True, env=self.environment, timeout=60)
        hello = run(build / "hello_world", "sh", "-c", "/bin/true; /bin/true")
        self.assertEqual((hello.returncode, hello.stdout.count("Hello, World!")), (0, 3), hello.stdout + hello.stderr)
        if not can_use_kernel_bpf():
            print("the examples for the kernel are built and not run: they take root and a kernel with BTF", file=sys.stderr)
            return
        shares = run(build / "cpu_distribution", "1")
        self.assertEqual(shares.returncode, 0, shares.stderr)
        self.assertRegex(shares.stdout, r"(?m)^ +\d+ +\d+ +[\d.]+ +[\d.]+%$")
        sender = subprocess.Popen([sys.executable, "-I", "-c", "import socket, time\na, b = socket.socketpair()\nfor _ in range(300):\n  a.send(b'x'); b.recv(1); time.sleep(0.01)"])
        self.addCleanup(sender.wait)
        self.addCleanup(sender.kill)
        stacks = run(build / "send_stacks", "1", sender.pid)
        self.assertEqual(stacks.returncode, 0, stacks.stderr)
        self.assertRegex(stacks.stdout, rf"\({sender.pid}\): \d+ calls of send")
        self.assertIn("send", stacks.stdout.splitlines()[1])


if __name__ == "__main__":
    main()
