"""What the project's files may not hold: unfinished marks, absolute paths of somebody's machine, files without a story, files too long."""
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
listed = subprocess.run(["git", "-C", str(root), "ls-files"], text=True, capture_output=True)
if listed.returncode:
    files = [p for p in root.rglob("*") if p.is_file() and "build" not in p.parts and ".git" not in p.parts]
else:
    files = [root / name for name in listed.stdout.split("\n") if name]

unfinished = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
paths = re.compile(r"(?<![\w.])/(?:ro" r"ot|home/[a-z]+|wo" r"rk)/")
problems = []
for file in files:
    if file.suffix not in (".cpp", ".hpp", ".h", ".c", ".def", ".py", ".sh", ".md", ".txt", ".cmake", ".case", ".S") or not file.exists():
        continue
    name = file.relative_to(root)
    text = file.read_text(errors="replace")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if paths.search(line):
            problems.append(f"{name}:{number}: a path of one machine: {line.strip()[:80]}")
        if file.suffix != ".md" and unfinished.search(line):
            problems.append(f"{name}:{number}: unfinished: {line.strip()[:80]}")
    if file.suffix in (".cpp", ".hpp") and not text.startswith("//"):
        problems.append(f"{name}:1: a file opens with what it is and why")
    if file.suffix in (".cpp", ".hpp") and len(lines) > 1000:
        problems.append(f"{name}: {len(lines)} lines; 1000 is the limit: split it by its story")

# Records of different tools with one name would be one type to the linker, whatever their members.
records = {}
for file in files:
    if file.suffix == ".h" and file.relative_to(root).parts[0] == "tools" and file.exists():
        for record in re.findall(r"^(?:struct|union) (\w+) \{", file.read_text(), re.M):
            if record in records:
                problems.append(f"{file.relative_to(root)}: struct {record} is also in {records[record]}")
            records[record] = file.relative_to(root)

print("\n".join(problems) or f"words: {len(files)} files are clean")
sys.exit(bool(problems))
