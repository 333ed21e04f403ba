# SPDX-License-Identifier: MIT
"""scootd as a service: systemd finds nothing wrong with the units and little to harden, makes the user, and a socket
that it opened is served by the first client's coming.

    service.py PREFIX SCOOTD     PREFIX: an installed tree. Ends with 77 where systemd's tools are not installed.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

EXPOSURE_MOST = 1.5  # of 10, where 10 is unprotected
TOOLS = ("systemd-analyze", "systemd-socket-activate", "systemd-sysusers")


def run(*command, **settings):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **settings)


def check_units(prefix, scootd, folder):
    problems = []
    for unit in ("scootd.service", "scootd.socket"):
        with open(f"{prefix}/lib/systemd/system/{unit}", encoding="utf-8") as file:
            text = file.read()
        # The tree may lie elsewhere than where it was made for, and verify looks for the program.
        text = re.sub(r"^ExecStart=\S*/scootd", f"ExecStart={scootd}", text, flags=re.M)
        text = re.sub(r"^Documentation=.*\n", "", text, flags=re.M)
        with open(f"{folder}/{unit}", "w", encoding="utf-8") as file:
            file.write(text)
    said = run("systemd-analyze", "verify", f"{folder}/scootd.service", f"{folder}/scootd.socket").stderr
    for line in said.splitlines():
        # A key of systemd 254; what other units on this machine are like is not our matter.
        if "MemoryPressureWatch" not in line and "scootd" in line:
            problems.append(line)
    security = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MOST * 10:.0f}",
                   "--no-pager", f"{folder}/scootd.service")  # fmt: skip
    overall = re.search(r"Overall exposure level for scootd.service: ([\d.]+)", security.stdout)
    print(f"exposure {overall.group(1) if overall else '?'}, {EXPOSURE_MOST} at most")
    if security.returncode != 0 or not overall:
        problems.append(security.stdout + security.stderr)
    return problems


def check_user(prefix, folder):
    root = f"{folder}/root"
    os.makedirs(f"{root}/etc")
    made = run("systemd-sysusers", f"--root={root}", f"{prefix}/lib/sysusers.d/scootd.conf")
    with open(f"{root}/etc/passwd", encoding="utf-8") as file:
        entry = re.search(r"^scootd:.*$", file.read(), re.M)
    if made.returncode != 0 or not entry or not entry.group().endswith("/nologin"):
        return [f"no user scootd without a shell: {entry and entry.group()} {made.stderr}"]
    return []


def check_configuration(prefix, scootd):
    with open(f"{prefix}/etc/scootd.conf", encoding="utf-8") as file:
        if file.read() != run(scootd, "--example-config").stdout:
            return ["scootd.conf is not what --example-config prints"]
    return []


def ask(port, what):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(what)
        return client.recv(100)


def check_socket_activation(prefix, scootd):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", scootd, f"--config={prefix}/etc/scootd.conf"],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    problems = []
    try:
        deadline = time.monotonic() + 30
        answer = b""
        while not answer and time.monotonic() < deadline:
            try:
                answer = ask(port, b"version\r\n")
            except ConnectionRefusedError:
                time.sleep(0.05)
        if not answer.startswith(b"VERSION "):
            problems.append(f"the first client of a socket was answered {answer!r}")
        process.send_signal(signal.SIGHUP)
        if not ask(port, b"version\r\n").startswith(b"VERSION "):
            problems.append("no answer after a reload")
        process.terminate()
        if process.wait(30) != 0:
            problems.append(f"it ended with status {process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return problems


def main():
    prefix, scootd = map(os.path.abspath, sys.argv[1:])
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        print(f"skipped: {', '.join(missing)} not installed")
        return 77
    with tempfile.TemporaryDirectory(prefix="scoot-service-") as folder:
        problems = check_units(prefix, scootd, folder)
        problems += check_user(prefix, folder)
    problems += check_configuration(prefix, scootd)
    problems += check_socket_activation(prefix, scootd)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
