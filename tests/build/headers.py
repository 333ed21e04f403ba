#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Goal: every public header compiles on its own, twice, without a warning.

Method: headers.py FOLDER SUFFIX COMPILER [FLAG..] hands the compiler a file that includes one header of FOLDER/scoot
twice and nothing else, for each header whose name ends in SUFFIX. Fails if there is none. The flags say the language.
"""
import pathlib
import subprocess
import sys


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    folder, suffix, compiler = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    headers = sorted((folder / "scoot").glob("*" + suffix))
    if not headers:
        sys.exit(f"no header *{suffix} in {folder}/scoot")
    failed = 0
    for header in headers:
        include = f"#include <scoot/{header.name}>\n"
        flags = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
        command = [*compiler, *flags, f"-I{folder}", "-fsyntax-only", "-"]
        result = subprocess.run(command, input=include * 2 + "extern int nothing;\n", text=True, check=False)
        print(f"{'ok  ' if result.returncode == 0 else 'FAIL'} {header.name}", flush=True)
        failed += result.returncode != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
