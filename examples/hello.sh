#!/bin/sh
# The main job, as the README shows it: the hello program on the user engine, without root, on a real
# process tree. One line per execve.
set -eu
skep=$1
here=$(dirname "$0")
exec "$skep" run "$here/hello.bpf.c" --program hello --attach syscall:execve -- sh -c 'ls / >/dev/null; date >/dev/null'
