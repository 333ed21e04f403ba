#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs the end-to-end tests: real clients against a real server.

    run.py [--server PATH] [--scoot PATH] [--options "OPTION ..."] [--list] [--require] [-v] [filter ...]

The server is --server, else $SCOOT_SERVER, else the newest scootd under build/; the command `scoot` is --scoot, else
$SCOOT_COMMAND, else the one built with the server. A filter is a part of a test's name as
--list prints it. --require (or SCOOT_REQUIRE_CLIENTS=1) makes a missing client a failure where it else is a skip. Ends
with 0 if all passed, 1 if one failed or none ran, 77 if all that were asked for were skipped.
"""

import argparse
import glob
import os
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


def main():
    parser = argparse.ArgumentParser(description="End-to-end tests of scootd with real clients.")
    parser.add_argument("--server", help="the program under test")
    parser.add_argument("--scoot", help="the command scoot")
    parser.add_argument("--options", help="given to every server before the options of its test, as --options=--io=epoll")
    parser.add_argument("--list", action="store_true", help="print the tests' names and end")
    parser.add_argument("--require", action="store_true", help="a missing client is a failure, not a skip")
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
    for test in tests_of(unittest.defaultTestLoader.discover(HERE, "test_*.py", HERE)):
        if not arguments.filters or any(part in test.id() for part in arguments.filters):
            chosen.addTest(test)
    if arguments.list:
        print("\n".join(test.id() for test in chosen))
        return 0
    if not chosen.countTestCases():
        print("no test has such a name", file=sys.stderr)
        return 1

    import harness

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
