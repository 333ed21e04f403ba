#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Goal: the protocol of purgeable chunks loses nothing in any interleaving, and every part of it is needed.

Method: spin explores chunk_word.pml, all of it, without finding a broken assertion or a state where nobody can go on,
and every statement is reached; then each mutation that the model knows, in which it has to find one.

check_model.py MODEL COMPILER [SPIN]; exits with 77, skipped, without spin.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def explore(spin, compiler, model, mutation):
    """What the search printed. Mutations are found with one pinner, too, which takes less time."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"-D{mutation}", "-DPINNERS=1"] if mutation else []
        level = "-O0" if mutation else "-O1"
        subprocess.run([spin, *flags, "-a", model], cwd=folder, check=True, stdout=subprocess.PIPE)
        subprocess.run([compiler, level, "-w", "-DSAFETY", "-o", "pan", "pan.c"], cwd=folder, check=True)
        result = subprocess.run(["./pan", "-m500000"], cwd=folder, text=True, check=False, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        return result.stdout


def whole(output):
    """Why the output does not say that all was explored and well, or None."""
    if "errors: 0" not in output or "max search depth too small" in output:
        return "a broken promise, or not all explored"
    unreached = re.findall(r'^\t\S+:(\d+), state \d+, (.*)$', output, re.MULTILINE)
    unreached = [f"line {line}: {text}" for line, text in unreached if text != '"-end-"']
    return f"never reached: {unreached}" if unreached else None


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    model, compiler = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    spin = shutil.which(sys.argv[3] if len(sys.argv) == 4 else "spin")
    if spin is None:
        print("skipped: there is no spin")
        sys.exit(77)
    mutations = re.findall(r"^ \*   ([A-Z_]+)  ", model.read_text(encoding="utf-8"), re.MULTILINE)
    if len(mutations) < 8:
        sys.exit(f"{model} names only the mutations {mutations}")
    output = explore(spin, compiler, model, None)
    why = whole(output)
    states = re.search(r"(\d+) states, stored", output)
    print(f"as it is: {states[1] if states else 'no'} states, {why or 'nothing is lost'}")
    failed = why is not None
    if failed:
        print(output)
    for mutation in mutations:
        output = explore(spin, compiler, model, mutation)
        found = re.search(r"assertion violated (.*) \(at depth", output)
        print(f"{mutation}: {found[1] if found else 'NOTHING FOUND'}")
        failed = failed or found is None
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
