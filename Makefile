# Thin: everything real is in CMake. `make hello`, `make test`, `make install`.
#
# Packages are installed only when something is missing, with sudo when not root; a machine that has them
# needs no network and no privileges.
BUILD   := build/release
PREFIX  ?= /usr/local
JOBS    ?= $(shell nproc)

# A failed test's own lines are what a log is read for: the hundred that went well are left out.
test check: export GTEST_BRIEF := 1

.PHONY: all hello test test-arm64 test-kernels install deb packages configure check race fuzz nightly prove bench-check clean

all: configure
	@cmake --build $(BUILD) -j$(JOBS)

hello: configure
	@cmake --build $(BUILD) -j$(JOBS) --target skep_tool
	@examples/hello.sh $(BUILD)/tools/skep/skep

test: configure
	@cmake --build $(BUILD) -j$(JOBS)
	@ctest --test-dir $(BUILD) --output-on-failure -j$(JOBS)

# The rooms up to vm compiled for AArch64 and run under qemu-user: vectors, cases, random programs.
test-arm64: configure
	@cmake --build $(BUILD) --target test_arm64

# The kernel engine's tests in Debian's kernels under QEMU: needs qemu-system-x86, busybox-static, cpio and the mirror.
test-kernels: configure
	@cmake --build $(BUILD) -j$(JOBS) --target kernel_engine_test skep_tool
	@tests/kernels/matrix.py --build $(BUILD)

packages:
	@tools/packages.sh

configure: packages
	@test -f $(BUILD)/build.ninja || cmake --preset release

install: all
	@cmake --install $(BUILD) --prefix $(PREFIX)

# Debian packages in build/release/packages; packaging/Package.cmake says which.
deb: configure
	@cmake --build $(BUILD) -j$(JOBS) --target skep_tool skep_shared skep_library
	@cpack -G DEB --config $(BUILD)/CPackConfig.cmake -B $(BUILD)/packages

# Longer checks, not part of `make test`.
check:
	@cmake --preset sanitize && cmake --build build/sanitize -j$(JOBS) && SKEP_MUTANTS=100000 ctest --test-dir build/sanitize --output-on-failure -LE style

# The tests in which threads meet, under ThreadSanitizer: maps, timers, tables of objects, code that is exchanged while
# it runs. Left out: a loop that ends by the clock, which is faster than the sanitizer.
RACES := map_test helper_test user_test vm_test
race:
	@cmake --preset thread && cmake --build build/thread -j$(JOBS) --target $(RACES)
	@for test in $(RACES); do build/thread/$$test --gtest_filter=-*ALookKeepsEveryRegister/interpreter || exit 1; done

# A million random programs through every engine, ten million under the verifier's oracle; goes on where it was stopped.
nightly: configure
	@cmake --build $(BUILD) -j$(JOBS) --target random_programs embedded_programs
	@cmake --build $(BUILD) --target nightly

# Every abstract operator of the verifier against the machine's: all of 8 bits, 10^9 random pairs of 64. 40 minutes of one
# CPU, shared by all; goes on where it was stopped.
prove: configure
	@cmake --build $(BUILD) -j$(JOBS) --target prove

# The promises of docs/PROMISES.md, measured again; fails when one is broken by more than noise. What its rows name is
# built, and bench_first, which bench_embed starts.
BENCHES := bench_first $(sort $(shell grep -oh 'bench_[a-z]*' docs/PROMISES.md))
bench-check: configure
	@cmake --build $(BUILD) -j$(JOBS) --target $(BENCHES) skep_tool
	@python3 bench/check.py --build $(BUILD)

fuzz:
	@cmake --preset fuzz && cmake --build build/fuzz -j$(JOBS) && fuzz/run.sh build/fuzz

clean:
	@rm -rf build
