"""clang-format-19 settles layout: no file differs from what it would write."""
import pathlib
import shutil
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
tool = shutil.which("clang-format-19")
if tool is None:
    print("layout: clang-format-19 is not installed (Debian package clang-format-19): left out")
    sys.exit(77)
files = []
for place in ("src", "include", "tools", "tests", "bench", "fuzz", "examples"):
    files += [p for p in sorted((root / place).rglob("*")) if p.suffix in (".cpp", ".hpp")]
run = subprocess.run([tool, "--dry-run", "-Werror", *map(str, files)], text=True, capture_output=True, cwd=root)
wrong = sorted({line.split(":")[0] for line in run.stderr.splitlines() if "error:" in line})
print("\n".join(wrong) or f"layout: {len(files)} files as clang-format-19 writes them")
if wrong:
    print(f"to mend: clang-format-19 -i {' '.join(str(pathlib.Path(w).relative_to(root)) for w in wrong[:20])}")
sys.exit(bool(wrong))
