#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Goal: the modules depend on each other only in the order that docs/README.md draws.

Method: reads every file of src/ and include/scoot/ and reports
  - an include of a layer that the including one may not know (ALLOWED), or of nothing in the tree,
  - a public header that includes an internal one,
  - a call outside src/os of a function that maps, unmaps or advises memory,
  - a file without its SPDX line.
Takes the root of the tree. With --self-test it plants one offence of every sort, each in a small tree of its own, and
fails unless every one is reported and the same tree without it is not.
"""
import pathlib
import re
import sys
import tempfile

# What each layer may include besides itself: internal headers of these layers...
INTERNAL = {
    "base": set(),
    "os": {"base"},
    "heap": {"base", "os"},
    "purgeable": {"base", "os"},
    "pressure": {"base", "os"},
    "cache": {"base"},  # everything below through the public headers
    "server": {"base", "cache"},
}
# ... and public headers of these.
PUBLIC = {
    "base": set(),
    "os": {"base"},
    "heap": {"base"},
    "purgeable": {"base"},
    "pressure": {"base"},
    "cache": {"base", "heap", "purgeable", "pressure"},
    "server": {"base", "heap", "purgeable", "pressure", "cache"},
}
# The layer of each public header.
OWNER = {
    "export.h": "base",
    "version.h": "base",
    "page_pool.hpp": "heap",
    "heap.hpp": "heap",
    "owner.hpp": "heap",
    "handle.hpp": "heap",
    "containers.hpp": "heap",
    "diagnosis.hpp": "heap",
    "pmr.hpp": "heap",
    "scoot.h": "base",  # all modules in C: declarations that need none of the others
    "purgeable.hpp": "purgeable",
    "pressure.hpp": "pressure",
    "cache.hpp": "cache",
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<(scoot/[^>]+)>)', re.MULTILINE)
MAPPING = re.compile(
    r"\b(mmap|mmap64|munmap|mremap|madvise|posix_madvise|process_madvise|mprotect|mincore|mlock|munlock|brk|sbrk)\s*\(")
COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
SUFFIXES = {".c", ".h", ".cpp", ".hpp"}


def code_only(text):
    """The text with comments and strings blanked, lines kept."""
    return COMMENT_OR_STRING.sub(lambda match: "\n" * match.group().count("\n"), text)


def include_offence(root, layer, public_file, target):
    """Why a file of that layer may not include the target, or None."""
    folder, _, rest = target.partition("/")
    if folder == "scoot":
        if rest not in OWNER:
            return f'includes "{target}", of which layers.py does not know the layer'
        if not (root / "include" / target).is_file():
            return f'includes "{target}", which does not exist'
        if OWNER[rest] != layer and OWNER[rest] not in PUBLIC[layer]:
            return f'includes "{target}" of layer {OWNER[rest]}, above {layer}'
        return None
    if public_file:
        return f'is public and includes the internal "{target}"'
    if not (root / "src" / target).is_file() or folder not in INTERNAL:
        return f'includes "{target}", which is no file relative to src/'
    if folder != layer and folder not in INTERNAL[layer]:
        return f'includes "{target}", but {layer} may not know the inside of {folder}'
    return None


def offences(root):
    found = []
    files = 0
    for top in ("src", "include/scoot"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            files += 1
            text = path.read_text(encoding="utf-8")
            public_file = top != "src"
            layer = OWNER.get(path.name) if public_file else path.relative_to(root / "src").parts[0]
            where = path.relative_to(root)
            if layer not in INTERNAL:
                found.append(f"{where}: belongs to no layer that layers.py knows")
                continue
            if "SPDX-License-Identifier: MIT" not in text.partition("\n")[0]:
                found.append(f"{where}:1: does not open with its SPDX line")
            for match in INCLUDE.finditer(text):
                why = include_offence(root, layer, public_file, match[1] or match[2])
                if why:
                    found.append(f"{where}:{text.count(chr(10), 0, match.start()) + 1}: {why}")
            if layer != "os":
                code = code_only(text)
                for match in MAPPING.finditer(code):
                    line = code.count("\n", 0, match.start()) + 1
                    found.append(f"{where}:{line}: calls {match[1]}, which only src/os may")
    if files == 0:
        found.append(f"{root}: no source files")
    return found


SPDX = "// SPDX-License-Identifier: MIT\n"
GOOD = {
    "include/scoot/export.h": "",
    "include/scoot/heap.hpp": '#include "scoot/export.h"\n',
    "include/scoot/cache.hpp": '#include "scoot/heap.hpp"\n',
    "src/base/check.hpp": "",
    "src/os/os.cpp": '#include "base/check.hpp"\n#include <sys/mman.h>\nvoid f() { mmap(0, 0, 0, 0, 0, 0); }\n',
    "src/os/os.hpp": "",
    "src/heap/heap.cpp": '#include "os/os.hpp"\n#include "scoot/heap.hpp"\n// so that mmap(2) is called seldom\n',
    "src/heap/shelf.hpp": "",
    "src/cache/cache.cpp": '#include "scoot/cache.hpp"\n#include "base/check.hpp"\nconst char* s = "munmap(x)";\n',
    "src/cache/item.hpp": "",
    "src/server/main.cpp": '#include "scoot/cache.hpp"\n#include "cache/item.hpp"\n#include <vector>\n',
}
# (file, text, what the report has to say): each is added to the good tree.
BAD = [
    ("src/base/bad.hpp", '#include "os/os.hpp"\n', "inside of os"),
    ("src/os/bad.cpp", '#include "heap/shelf.hpp"\n', "inside of heap"),
    ("src/heap/bad.cpp", '#include "cache/item.hpp"\n', "inside of cache"),
    ("src/heap/bad.cpp", '#include "scoot/cache.hpp"\n', "of layer cache, above heap"),
    ("src/heap/bad.cpp", "#include <scoot/cache.hpp>\n", "of layer cache, above heap"),
    ("src/cache/bad.cpp", '#include "heap/shelf.hpp"\n', "inside of heap"),
    ("src/cache/bad.cpp", '  #  include "os/os.hpp"\n', "inside of os"),
    ("src/server/bad.cpp", '#include "heap/shelf.hpp"\n', "inside of heap"),
    ("src/server/bad.cpp", '#include "../heap/shelf.hpp"\n', "no file relative to src/"),
    ("src/server/bad.cpp", '#include "item.hpp"\n', "no file relative to src/"),
    ("src/server/bad.cpp", '#include "scoot/nothing.hpp"\n', "does not know the layer"),
    ("src/other/bad.cpp", "", "belongs to no layer"),
    ("include/scoot/page_pool.hpp", '#include "base/check.hpp"\n', "is public and includes the internal"),
    ("include/scoot/page_pool.hpp", '#include "scoot/cache.hpp"\n', "of layer cache, above heap"),
    ("src/heap/bad.cpp", "void f() { /* x */ ::madvise (0, 0, 0); }\n", "calls madvise"),
    ("src/server/bad.cpp", "auto p = mmap(0, 0, 0, 0, 0, 0);\n", "calls mmap"),
    ("src/cache/bad.cpp", "auto p = munmap(0, 0); // fine\n", "calls munmap"),
    ("src/base/bad.cpp", "auto p = mprotect(0, 0, 0);\n", "calls mprotect"),
]


def write_tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SPDX + text)


def self_test():
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "good"
        write_tree(root, GOOD)
        failures += [f"good tree reported: {offence}" for offence in offences(root)]
        for number, (name, text, expected) in enumerate(BAD):
            root = pathlib.Path(folder) / str(number)
            write_tree(root, {**GOOD, name: text})
            found = offences(root)
            if len(found) != 1 or not found[0].startswith(name) or expected not in found[0]:
                failures.append(f"{name} with {text!r}: expected one report of {expected!r}, got {found}")
        (root / name).write_text("int x;\n")
        if "SPDX" not in "".join(offences(root)):
            failures.append("a missing SPDX line was not reported")
        empty = pathlib.Path(folder) / "empty"
        empty.mkdir()
        if not offences(empty):
            failures.append("an empty tree passed")
    return failures


def main():
    if sys.argv[1:] == ["--self-test"]:
        found = self_test()
    elif len(sys.argv) == 2:
        found = offences(pathlib.Path(sys.argv[1]))
    else:
        sys.exit(__doc__)
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
