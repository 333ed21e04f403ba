#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs the end-to-end tests: real clients against a real server.

    run.py [--server PATH] [--scoot PATH] [--options "OPTION ..."] [--jobs N] [--list] [--require] [-v] [filter ...]

The server is --server, else $SCOOT_SERVER, else the newest scootd under build/; the command `scoot` is --scoot, else
$SCOOT_COMMAND, else the one built with the server. A filter is a part of a test's name as
--list prints it. --jobs runs so many files of tests at once, but for those that load the machine themselves. --require (or SCOOT_REQUIRE_CLIENTS=1) makes a missing client a failure where it else is a skip. Ends
with 0 if all passed, 1 if one failed or none ran, 77 if all that were asked for were skipped.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import time
import unittest

# Debian's own python sees Debian's client libraries; another one that comes first on PATH may not.
DEBIAN_PYTHON = "/usr/bin/python3"
if sys.prefix not in ("/usr", "/usr/local") and os.access(DEBIAN_PYTHON, os.X_OK) and sys.executable != DEBIAN_PYTHON:
    os.execv(DEBIAN_PYTHON, [DEBIAN_PYTHON, os.path.abspath(__file__), *sys.argv[1:]])

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

ALONE = ("test_crowds", "test_hostile", "test_memory", "test_soak")  # want all processors
COUNTS = re.compile(r"^clients: (\d+) tests, (\d+) failures, (\d+) skipped", re.M)


def newest_scootd():
    root = os.path.dirname(os.path.dirname(HERE))
    found = [path for depth in range(1, 5) for path in glob.glob(f"{root}/build/{'*/' * depth}scootd") if os.path.isfile(path)]
    return max(found, key=os.path.getmtime, default=None)


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def run_module(module, filters):
    """Runs the chosen tests of a file in a process of its own. Tests, failures, skips, and whether it went well."""
    started = time.monotonic()
    words = [sys.executable, os.path.abspath(__file__), "--module", module, *filters]
    child = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = COUNTS.search(child.stdout)
    counts = [int(number) for number in found.groups()] if found else [1, 1, 0]
    well = found is not None and child.returncode in (0, 77)
    print(f"{module}: {counts[0]} tests, {'ok' if well else 'FAILED'}, {time.monotonic() - started:.1f} s", flush=True)
    for line in child.stdout.splitlines() if not well else re.findall("^skipped: .*", child.stdout, re.M):
        print(f"    {line}", flush=True)
    return (*counts, well)


def run_modules(modules, filters, jobs):
    started = time.monotonic()
    together = [module for module in modules if module not in ALONE]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(lambda module: run_module(module, filters), together))
    results += [run_module(module, filters) for module in modules if module in ALONE]
    tests, bad, skipped = (sum(result[i] for result in results) for i in range(3))
    print(f"clients: {tests} tests, {bad} failures, {skipped} skipped, {time.monotonic() - started:.1f} s")
    if not all(result[3] for result in results):
        return 1
    return 77 if skipped == tests else 0


def main():
    parser = argparse.ArgumentParser(description="End-to-end tests of scootd with real clients.")
    parser.add_argument("--server", help="the program under test")
    parser.add_argument("--scoot", help="the command scoot")
    parser.add_argument("--options", help="given to every server before the options of its test, as --options=--io=epoll")
    parser.add_argument("--list", action="store_true", help="print the tests' names and end")
    parser.add_argument("--require", action="store_true", help="a missing client is a failure, not a skip")
    parser.add_argument("--jobs", type=int, default=1, help="files of tests run at once")
    parser.add_argument("--module", help="only the tests of this file")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("filters", nargs="*", metavar="filter")
    arguments = parser.parse_args()

    server = arguments.server or os.environ.get("SCOOT_SERVER") or newest_scootd()
    if not server:
        parser.error("no scootd found: build it, or give --server")
    os.environ["SCOOT_SERVER"] = os.path.abspath(server)
    if arguments.scoot:
        os.environ["SCOOT_COMMAND"] = os.path.abspath(arguments.scoot)
    if arguments.options:
        os.environ["SCOOT_SERVER_OPTIONS"] = arguments.options
    if arguments.require:
        os.environ["SCOOT_REQUIRE_CLIENTS"] = "1"

    chosen = unittest.TestSuite()
    pattern = f"{arguments.module}.py" if arguments.module else "test_*.py"
    for test in tests_of(unittest.defaultTestLoader.discover(HERE, pattern, HERE)):
        if not arguments.filters or any(part in test.id() for part in arguments.filters):
            chosen.addTest(test)
    if arguments.list:
        print("\n".join(test.id() for test in chosen))
        return 0
    if not chosen.countTestCases():
        print("no test has such a name", file=sys.stderr)
        return 1

    import harness

    if arguments.jobs > 1:
        print(f"server: {server} ({harness.version_line()})", flush=True)
        return run_modules(sorted({test.id().split(".")[0] for test in tests_of(chosen)}), arguments.filters, arguments.jobs)

    print(f"server: {server} ({harness.version_line()})", flush=True)
    started = time.monotonic()
    result = unittest.TextTestRunner(verbosity=2 if arguments.verbose else 1, buffer=False).run(chosen)
    for test, reason in result.skipped:
        print(f"skipped: {test.id()}: {reason}")
    bad = len(result.failures) + len(result.errors)
    print(
        f"clients: {result.testsRun} tests, {bad} failures, {len(result.skipped)} skipped,"
        f" {time.monotonic() - started:.1f} s"
    )
    if not result.wasSuccessful():
        return 1
    return 77 if len(result.skipped) == result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
