#!/bin/sh
# Runs every fuzzer of a build for SKEP_FUZZ_SECONDS each (default 60), seeded with the examples' objects and a small
# library with probes. An input that breaks something stays in the build directory, and the script fails at its end.
set -eu
build=$1
seconds=${SKEP_FUZZ_SECONDS:-60}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/objects" "$work/linked"
for source in "$root"/examples/*.bpf.c; do
  "$build/tools/skep/skep" compile "$source" -o "$work/objects/$(basename "$source" .c).o" || true
done
# The fuzzer of types begins with the objects' own, behind the byte that says "not cut" (btf.cpp).
mkdir "$work/types"
objcopy=$(command -v llvm-objcopy || command -v llvm-objcopy-14 || true)
[ -n "$objcopy" ] || echo "fuzz_btf begins with nothing: llvm-objcopy is missing (package llvm)"
for object in "$work"/objects/*.o; do
  [ -n "$objcopy" ] && "$objcopy" --dump-section .BTF="$work/section" "$object" "$work/copy" || continue
  { printf '\0' && cat "$work/section"; } >"$work/types/$(basename "$object" .o)"
done
cc -nostdlib -shared "$root/fuzz/probed.S" -o "$work/linked/probed.so" || true
broken=
for fuzzer in "$build"/fuzz_*; do
  [ -f "$fuzzer" ] && [ -x "$fuzzer" ] || continue
  name=$(basename "$fuzzer")
  echo "== $name, ${seconds} s"
  mkdir "$work/$name"
  case $name in
    fuzz_elf_object | fuzz_object_pipeline) corpus="$work/$name $work/objects" ;;
    fuzz_btf) corpus="$work/$name $work/types" ;;
    fuzz_elf_probes) corpus="$work/$name $work/linked" ;;
    *) corpus="$work/$name" ;;
  esac
  "$fuzzer" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="$build/$name-" $corpus >"$work/log" 2>&1 || broken="$broken $name"
  case $broken in
    *" $name") tail -n 60 "$work/log" ;;
    *) tail -n 8 "$work/log" ;;
  esac
done
[ -z "$broken" ] || { echo "broken:$broken; the inputs are $build/fuzz_*-*" >&2; exit 1; }
