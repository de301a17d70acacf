"""Options of the built-in tools beside those of BCC's tools: what its manual pages (Debian's bpfcc-tools) and the tools
themselves declare must be there, and take a value where BCC's does."""
import concurrent.futures
import gzip
import json
import os
import pathlib
import re
import subprocess
import unittest

import support

PAGES = pathlib.Path("/usr/share/man/man8")
TOOLS = pathlib.Path("/usr/sbin")
OPTION = re.compile(r"(?<![\w/-])--?[A-Za-z0-9](?:[\w-]*\w)?")

# Everybody's, or no user's: BCC hides --ebpf; ours are --help and --version.
NOT_ASKED = {"-h", "--help", "--ebpf"}

# What is absent on purpose, or is a mistake of the page: (tool, option): why.
GENERATED = "prints the C text that BCC makes; here there is none, the program was compiled with skep"
REASONS = {
    ("bindsnoop", "--debug-source"): GENERATED,
    ("funccount", "-D"): GENERATED,
    ("funccount", "--debug"): GENERATED,
    ("funclatency", "-v"): GENERATED,
    ("funclatency", "--verbose"): GENERATED,
    ("funcslower", "-v"): GENERATED,
    ("funcslower", "--verbose"): GENERATED,
    ("sslsniff", "-d"): GENERATED,
    ("sslsniff", "--debug"): GENERATED,
    ("stackcount", "--debug"): GENERATED,
    ("tcprtt", "-D"): GENERATED,
    ("tcprtt", "--debug"): GENERATED,
    ("trace", "-z"): "a mistake of the page: BCC's trace has -Z, as its synopsis says",
}


def page_text(name):
    """A page's synopsis and options as plain text."""
    text = gzip.decompress((PAGES / f"{name}-bpfcc.8.gz").read_bytes()).decode(errors="replace")
    text = re.sub(r"\\f.|\\&", "", text).replace("\\-", "-").replace("\\", "")
    sections = re.split(r"(?m)^\.SH +", text)
    return "\n".join(part for part in sections if part.startswith(("SYNOPSIS", "OPTIONS")))


def page_options(name):
    """An option stands in brackets, or at the beginning of a line."""
    found = set()
    for line in page_text(name).splitlines():
        line = re.sub(r"^\.(B|BR|I|IP|TP|RB) +", "", line)
        for group in re.findall(r"[\[|] *(-[^\]|]*)", line) + ([line] if line.startswith("-") else []):
            words = re.split(r"[ ,=|]+", group.replace('"', ""))
            for word in words:
                if not OPTION.fullmatch(word):
                    break
                # "[-adfh]": flags written together
                found.update("-" + letter for letter in word[1:]) if re.fullmatch(r"-[A-Za-z]{2,}", word) else found.add(word)
    return found - NOT_ASKED


def declared_options(name):
    """What the tool's own parser takes: option -> whether it has a value."""
    path = TOOLS / f"{name}-bpfcc"
    source = path.read_text(errors="replace") if path.exists() else ""  # some are shell scripts under another name
    found = {}
    for call in re.split(r"\badd_argument\(", source)[1:]:
        head = re.match(r"""\s*((?:["']--?[\w-]+["']\s*,\s*)+)""", call)
        if not head:
            continue
        rest = call[:call.find("add_argument") if "add_argument" in call else 600]
        end = re.search(r"\)\s*\n\s*(?:\w|#|$)", rest)
        has_value = not re.search(r"""action\s*=\s*["'](store_true|store_false|count|store_const|version)""", rest[:end.end() if end else None])
        for option in re.findall(r"--?[\w-]+", head[1]):
            found[option] = has_value
    return {option: value for option, value in found.items() if option not in NOT_ASKED}


def our_options(text):
    """What --help lists: option -> whether it has a value."""
    found = {}
    for line in text[:text.find("examples:")].splitlines():
        match = re.match(r"\s+((?:--?[\w-]+,?)+)( +[A-Z]+(?::|\b)|$| {2,})?", line)
        if match and line.lstrip().startswith("-"):
            kind = re.match(r"\s+\S+ (TEXT|INT|UINT|FLOAT|ENUM|\[)", line)
            for option in re.findall(r"--?[\w-]+", match[1]):
                found[option] = bool(kind)
    return found


class ManualPages(support.Case):
    def test_options(self):
        support.need((TOOLS / "opensnoop-bpfcc").exists() and any(PAGES.glob("opensnoop-bpfcc.8*")), "left out: bpfcc-tools is not installed")
        names = [tool["name"] for tool in json.loads(self.skep("tools", "-j", check=0).stdout) if (PAGES / f"{tool['name']}-bpfcc.8.gz").exists()]
        self.assertGreater(len(names), 50)

        def ask(name):
            return name, our_options(subprocess.run([support.SKEP, name, "--help"], capture_output=True, text=True, timeout=60, env=self.environment).stdout)
        used = set()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for name, ours in pool.map(ask, names):
                declared = declared_options(name)
                missing = sorted((page_options(name) | set(declared)) - set(ours))
                used |= {(name, option) for option in missing if (name, option) in REASONS}
                differs = sorted(f"{option} {'takes a value' if declared[option] else 'is a flag'} in BCC" for option in declared.keys() & ours.keys() if declared[option] != ours[option])
                with self.subTest(tool=name):
                    self.assertEqual([option for option in missing if (name, option) not in REASONS], [], "options of BCC's that are not here")
                    self.assertEqual([text for text in differs if (name, text.split()[0]) not in REASONS], [])
                    used |= {(name, text.split()[0]) for text in differs if (name, text.split()[0]) in REASONS}
        self.assertEqual(set(REASONS) - used, set(), "reasons for what is there by now")


if __name__ == "__main__":
    support.main()
