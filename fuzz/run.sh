#!/bin/sh
# Runs every fuzzer of a build for SKEP_FUZZ_SECONDS each (default 60), seeded with the examples' objects.
set -eu
build=$1
seconds=${SKEP_FUZZ_SECONDS:-60}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/objects"
for source in "$root"/examples/*.bpf.c; do
  "$build/tools/skep/skep" compile "$source" -o "$work/objects/$(basename "$source" .c).o" || true
done
for fuzzer in "$build"/fuzz_*; do
  [ -x "$fuzzer" ] || continue
  name=$(basename "$fuzzer")
  echo "== $name, ${seconds} s"
  mkdir "$work/$name"
  case $name in
    fuzz_elf_object | fuzz_object_pipeline) corpus="$work/$name $work/objects" ;;
    *) corpus="$work/$name" ;;
  esac
  "$fuzzer" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 $corpus 2>&1 | tail -n 8
done
