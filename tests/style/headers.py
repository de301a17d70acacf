"""Every public header compiles alone."""
import pathlib
import subprocess
import sys

root, compiler = pathlib.Path(sys.argv[1]), sys.argv[2]
headers = sorted((root / "include/skep").glob("*.hpp"))
bad = 0
for header in headers:
    run = subprocess.run([compiler, "-std=gnu++20", "-fsyntax-only", "-I", str(root / "include"), "-x", "c++", "-"],
                         input=f"#include <skep/{header.name}>\n", text=True, capture_output=True)
    if run.returncode:
        bad += 1
        print(f"{header.name} does not compile alone:\n{run.stderr}")
c_headers = sorted((root / "include/skep").glob("*.h"))
for header in c_headers:
    run = subprocess.run([compiler, "-std=c99", "-pedantic-errors", "-fsyntax-only", "-I", str(root / "include"), "-x", "c", "-"],
                         input=f"#include <skep/{header.name}>\n", text=True, capture_output=True)
    if run.returncode:
        bad += 1
        print(f"{header.name} does not compile alone as C99:\n{run.stderr}")
headers += c_headers
print(f"headers: {len(headers) - bad} of {len(headers)} public headers compile alone")
sys.exit(bool(bad) or not headers)
