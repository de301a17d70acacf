"""What a room includes is what skep_room(... DEPENDS ...) says, and nothing else.

A room may include its own headers, the public ones, and those of the rooms it depends on, directly or
through them. A dependency that no file uses is reported too: the statement should be true both ways.
Tests beside the code (*_test.cpp) may in addition use what their room's dependencies make reachable.
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
depends = {}
for match in re.finditer(r"^\s*skep_room\((\w+)([^)]*)\)", (root / "CMakeLists.txt").read_text(), re.M):
    words = match.group(2).split()
    wanted, taking = [], False
    for word in words:
        if word in ("DEPENDS", "LIBRARIES", "COLD", "SMALL"):
            taking = word == "DEPENDS"
        elif taking:
            wanted.append(word)
    depends[match.group(1)] = wanted


def reachable(room):
    seen, todo = set(), [room]
    while todo:
        for dependency in depends.get(todo.pop(), []):
            if dependency not in seen:
                seen.add(dependency)
                todo.append(dependency)
    return seen


problems, checked = [], 0
for room in sorted(p.name for p in (root / "src").iterdir() if p.is_dir()):
    if room not in depends:
        problems.append(f"src/{room}: no skep_room({room} ...) in CMakeLists.txt")
        continue
    allowed = reachable(room) | {room}
    if room in reachable(room):
        problems.append(f"src/{room}: depends on itself in a circle")
    for file in sorted((root / "src" / room).rglob("*")):
        if file.suffix not in (".cpp", ".hpp", ".def"):
            continue
        # Programs inside of raw strings include what they like.
        code = re.sub(r'R"(\w*)\(.*?\)\1"', lambda raw: "\n" * raw.group().count("\n"), file.read_text(), flags=re.S)
        for number, text in enumerate(code.splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', text)
            if not match:
                continue
            checked += 1
            target = match.group(1)
            owner = target.split("/")[0]
            if not (root / "src" / target).exists():
                if (file.parent / target).exists() or owner == "generated":
                    continue
                problems.append(f"{file.relative_to(root)}:{number}: {target} does not exist under src/")
            elif owner not in allowed:
                problems.append(f"{file.relative_to(root)}:{number}: room {room} may not include {target}"
                                f" (its rooms: {', '.join(sorted(allowed))})")

for header in sorted((root / "include/skep").glob("*.hpp")):
    for number, text in enumerate(header.read_text().splitlines(), 1):
        if re.match(r'\s*#\s*include\s+"', text):
            problems.append(f"{header.relative_to(root)}:{number}: public headers include only <skep/...>, <tl/expected.hpp> and the standard library")
        match = re.match(r"\s*#\s*include\s+<([^>]+)>", text)
        if match and "/" in match.group(1) and not match.group(1).startswith(("skep/", "tl/")):
            problems.append(f"{header.relative_to(root)}:{number}: {match.group(1)} is not for public headers")

print("\n".join(problems) or f"layers: {checked} includes in {len(depends)} rooms are permitted")
sys.exit(bool(problems))
