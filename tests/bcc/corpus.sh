#!/bin/sh
# Takes the C texts of some BCC tools (or all: no names) out of an installed bpfcc-tools, compiles them and loads them
# into this kernel: corpus.sh BCC_CORPUS [TOOL...]
corpus=$1
shift
if [ "$(id -u)" != 0 ]; then
  echo "bcc.corpus is left out: the tools generate their programs for root only"
  exit 77
fi
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
"$(dirname "$0")/extract.py" "$directory" "$@"
status=$?
[ $status = 0 ] || exit $status
"$corpus" "$directory" --load
