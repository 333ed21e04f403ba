# SPDX-License-Identifier: MIT
"""What is installed goes into packages, and the shared library shows its API and nothing else.

    installed_tree.py packages PREFIX SOURCE    each file below PREFIX is in the list of one package of debian/, and each
                                                line of the lists names something; build dependencies are all there
    installed_tree.py symbols PREFIX SOURCE     of libscoot.so: its SONAME, that it exports the API only, all of scoot.h,
                                                and what packaging/libscoot1.symbols has, neither less nor more
    installed_tree.py recorder PREFIX SOURCE    scoot-bench records a program with the recorder that is installed
    installed_tree.py http PREFIX SOURCE        scootd --http serves with the module that is installed
    installed_tree.py list PREFIX SOURCE        prints that list anew
"""

import fnmatch
import glob
import os
import re
import subprocess
import sys
import tempfile
import urllib.request


def fail(problems):
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def files_below(folder):
    for place, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(place, name), folder)


def check_packages(prefix, source):
    # (package, pattern): debhelper's patterns are of a prefix /usr, with the architecture's folder below lib.
    lists = []
    for path in sorted(glob.glob(f"{source}/debian/*.install")):
        with open(path, encoding="utf-8") as file:
            for line in file.read().splitlines():
                pattern = line.split()[0].removeprefix("usr/").replace("lib/*/", "lib/")
                lists.append((os.path.basename(path).removesuffix(".install"), pattern))
    problems, used = [], set()
    names = list(files_below(prefix))
    for name in names:
        owners = set()
        for package, pattern in lists:
            if fnmatch.fnmatchcase(name, pattern) or name.startswith(pattern + "/"):
                owners.add(package)
                used.add((package, pattern))
        if len(owners) != 1:
            problems.append(f"{name} is in {', '.join(sorted(owners)) or 'no package'}")
    problems += [f"{package}.install: nothing is {pattern}" for package, pattern in lists if (package, pattern) not in used]
    if len(names) < 20:
        problems.append(f"only {len(names)} files are installed")

    with open(f"{source}/debian/control", encoding="utf-8") as file:
        wanted = set(re.findall(r"^ ([a-z0-9.+-]+)", file.read().split("\n\n")[0], re.M))
    with open(f"{source}/packages.txt", encoding="utf-8") as file:
        needed = [line.split() for line in file if not line.startswith("#") and line.strip()]
    for package, *needs in needed:
        if "build" in needs and package not in wanted:
            problems.append(f"debian/control: Build-Depends lacks {package}, which packages.txt has for build")
    return fail(problems)


def exported(library):
    """[(mangled, readable)] of what the library defines for others."""
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    mangled = [re.sub(r"@.*", "", line.split()[-1]) for line in lines.splitlines() if " A " not in line]
    readable = subprocess.run(["c++filt"], input="\n".join(mangled), check=True, capture_output=True, text=True).stdout
    return sorted(zip(mangled, readable.splitlines()))


def check_symbols(prefix, source):
    library = f"{prefix}/lib/libscoot.so"
    dynamic = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
    problems = []
    if "[libscoot.so.1]" not in dynamic:
        problems.append("the SONAME is not libscoot.so.1")
    for needed in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not re.match(r"lib(stdc\+\+|m|gcc_s|c|pthread|asan|ubsan|tsan)\.so|ld-linux", needed):
            problems.append(f"libscoot.so needs {needed}")
    symbols = exported(library)
    public = re.compile(r"scoot_\w+$|(typeinfo for |typeinfo name for |vtable for )?scoot::(?!os::|base::)|std::__detail::__waiter_pool_base::")
    for mangled, readable in symbols:
        name = re.sub(r"^.*? (?=scoot::\w)", "", readable) if readable.startswith(("void ", "bool ")) else readable
        if not public.match(name):
            problems.append(f"not of the API, and exported: {readable} ({mangled})")
    names = {mangled for mangled, _ in symbols}
    declared = set()
    for header in glob.glob(f"{source}/include/scoot/*.h"):
        with open(header, encoding="utf-8") as file:
            declared.update(re.findall(r"^SCOOT_EXPORT[^;{]*?\b(scoot_\w+)\(", file.read(), re.M))
    if len(declared) < 20:
        problems.append(f"only {len(declared)} functions were found in the headers for C")
    problems += [f"{name} is declared in a header for C and not exported" for name in sorted(declared - names)]
    with open(f"{source}/packaging/libscoot1.symbols", encoding="utf-8") as file:
        promised = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    for name in promised:
        if name not in names:
            problems.append(f"no longer exported, which breaks programs that were linked before: {name}")
    for mangled, readable in symbols:
        if mangled not in promised and not readable.startswith("std::"):
            problems.append(f"exported and not in packaging/libscoot1.symbols ({sys.argv[0]} list prints it anew): {readable} ({mangled})")
    return fail(problems)


def check_recorder(prefix, _):
    with tempfile.TemporaryDirectory() as folder:
        trace = f"{folder}/trace"
        said = subprocess.run([f"{prefix}/bin/scoot-bench", "record", trace, "--", sys.executable, "-c", "print([0] * 1000)"],
                              capture_output=True, text=True, timeout=60)
        problems = []
        if said.returncode != 0 or not re.search(r": [1-9]\d* operations on [1-9]\d* blocks", said.stderr):
            problems.append(f"scoot-bench record of the installed tree ends with {said.returncode}: {said.stderr}")
        elif os.path.getsize(trace) == 0:
            problems.append("the trace is empty")
    return fail(problems)


def check_http(prefix, _):
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([f"{prefix}/bin/scootd", "-m", "8", "-s", f"{folder}/socket", "--http", "127.0.0.1:0"],
                                  stderr=subprocess.PIPE, text=True)
        said, match = "", None
        for line in server.stderr:
            said += line
            if match := re.search(r"live page at (http://\S+)", line):
                break
        problems = []
        try:
            if not match:
                problems.append(f"scootd --http of the installed tree does not serve: {said}")
            elif urllib.request.urlopen(match[1] + "metrics", timeout=30).status != 200:
                problems.append("no metrics")
        finally:
            server.terminate()
            server.wait(30)
    return fail(problems)


def print_symbols(prefix, _):
    print("# What libscoot.so.1 has exported in a release and must go on to. tests/build/installed_tree.py list prints it.")
    print("\n".join(mangled for mangled, readable in exported(f"{prefix}/lib/libscoot.so") if not readable.startswith("std::")))
    return 0


if __name__ == "__main__":
    actions = {"packages": check_packages, "symbols": check_symbols, "recorder": check_recorder, "http": check_http, "list": print_symbols}
    sys.exit(actions[sys.argv[1]](sys.argv[2], sys.argv[3]))
