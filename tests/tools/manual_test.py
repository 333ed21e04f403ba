#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Goal: man pages and completions are complete and sound, and docs/options.md and scootd's help name the same options.

Method: the built ones are linted by mandoc and groff, rendered, and compared with --help and scoot.h as they are read here,
not as man/manual.py reads them; the completions are asked in the shells themselves.

    manual_test.py ROOT BUILD
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT, BUILD = (pathlib.Path(argument) for argument in sys.argv[1:3])
MANUAL = BUILD / "man"
PROGRAMS = {"scoot": BUILD / "tools" / "scoot", "scoot-bench": BUILD / "bench" / "scoot-bench", "scootd": BUILD / "src" / "server" / "scootd"}


def run(*command, **settings):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, **settings)


def options_in_help(program, *subcommands):
    """Short and long options, wherever a line of help begins with them."""
    said = run(program, *subcommands, "--help")
    assert said.returncode == 0, said.stderr
    found = set()
    for line in said.stdout.splitlines():
        if match := re.match(r" {2,6}(?:(-[A-Za-z0-9])(?=[ ,]))?,? ?(--[a-z0-9-]+)?", line):
            found |= {name for name in match.groups() if name}
    assert "--help" in found
    return found


def subcommands(name):
    _, _, lines = run(PROGRAMS[name], "--help").stdout.partition("\nSubcommands:\n")
    return re.findall(r"(?m)^  ([a-z]+) ", lines)


def every_option(name):
    found = options_in_help(PROGRAMS[name])
    for command in subcommands(name):
        found |= options_in_help(PROGRAMS[name], command)
    return found


def rendered(page):
    said = run("mandoc", "-T", "ascii", "-O", "width=300", page, cwd=MANUAL)
    assert said.returncode <= 2, said.stderr
    return re.sub(r".\x08", "", said.stdout)


class Pages(unittest.TestCase):
    def pages(self):
        found = sorted(MANUAL.glob("*.1")) + sorted(path for path in MANUAL.glob("man3/*.3") if not path.read_text().startswith(".so "))
        self.assertEqual(len(list(MANUAL.glob("*.1"))), len(PROGRAMS))
        self.assertGreater(len(found), 10)
        return found

    def test_the_linters_find_nothing(self):
        for page in self.pages():
            with self.subTest(page=page.name):
                said = run("mandoc", "-T", "lint", "-W", "warning", page)
                self.assertEqual((said.returncode, said.stdout), (0, ""))
                said = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page, env={**os.environ, "LC_ALL": "C.UTF-8"})
                self.assertEqual((said.returncode, said.stderr), (0, ""))

    def test_every_option_is_in_the_page_of_its_program(self):
        for name in PROGRAMS:
            text = rendered(MANUAL / f"{name}.1")
            tagged = set(re.findall(r"(?m)^ {5,8}((?:--?[A-Za-z0-9-]+(?:, )?)+)", text))
            documented = {option for names in tagged for option in names.split(", ")}
            self.assertEqual(every_option(name) - documented, set(), name)

    def test_every_function_of_scoot_h_has_a_page(self):
        header = re.sub(r"/\*.*?\*/", "", (ROOT / "include/scoot/scoot.h").read_text(), flags=re.S)
        functions = re.findall(r"^(?:SCOOT_EXPORT|static inline) [^;{]*?\b(scoot_\w+)\(", header, re.M)
        self.assertGreater(len(functions), 40)
        for function in functions:
            text = (MANUAL / "man3" / f"{function}.3").read_text()
            if match := re.fullmatch(r"\.so man3/(\S+)\n", text):
                text = (MANUAL / "man3" / match[1]).read_text()
            self.assertRegex(text, rf"(?m)^\.Nm {function}( ,)?$")
            self.assertRegex(text, rf'(?m)^\.Fn {function} "')
            self.assertRegex(text, rf"(?m)^\.It .*\bFn {function}( |$)")

    def test_the_example_of_the_overview_is_a_program(self):
        text = (MANUAL / "man3" / "scoot.3").read_text()
        (example,) = re.findall(r"\.Bd -literal\n(.*?)\.Ed", text, re.S)
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "example.c"
            source.write_text(example)
            said = run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", "-fsyntax-only", source)
            self.assertEqual((said.returncode, said.stderr), (0, ""))


class OptionsPage(unittest.TestCase):
    """docs/options.md against scootd."""

    text = (ROOT / "docs" / "options.md").read_text()

    def test_it_names_every_option(self):
        said = run(PROGRAMS["scootd"], "--help").stdout
        lines = re.findall(r"(?m)^ {2,6}(?=-)(?:(-\w), )?(--[a-z0-9-]+)", said)
        self.assertGreater(len(lines), 25)
        own = {"--help", "--version"}
        missing = [long for short, long in lines if long not in own and not any(self.names(one) for one in (short, long) if one)]
        self.assertEqual(missing, [], "not in docs/options.md")

    def names(self, option):
        return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", self.text)

    def test_it_names_no_other_option(self):
        column = "\n".join(re.findall(r"(?m)^\| ([^|]*) \|", self.text))
        for option in set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+|(?<![\w-])-[A-Za-z](?![\w-])", column)):
            said = run(PROGRAMS["scootd"], option).stderr
            self.assertNotRegex(said, r"not expected", f"{option} is in docs/options.md, and scootd does not know it")


class Completions(unittest.TestCase):
    def bash(self, name, *words):
        script = (
            f"source {MANUAL}/bash/{name}; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); compopt() {{ :; }}; "
            f"_{name.replace('-', '_')}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        said = run("bash", "--norc", "-c", script, "bash", name, *words)
        self.assertEqual((said.returncode, said.stderr), (0, ""))
        return set(said.stdout.split())

    def test_bash_offers_every_option_and_subcommand(self):
        for name, program in PROGRAMS.items():
            self.assertEqual(self.bash(name, "-"), options_in_help(program), name)
            if subcommands(name):
                self.assertEqual(self.bash(name, ""), set(subcommands(name)))
            for command in subcommands(name):
                self.assertEqual(self.bash(name, command, "-"), options_in_help(program, command))
        self.assertEqual(subcommands("scoot"), ["top", "map", "replay"])
        self.assertEqual(self.bash("scoot", "re"), {"replay"})
        self.assertIn("--processes", self.bash("scoot-bench", "heap", "speed", "--"))
        self.assertEqual(self.bash("scoot-bench", "heap", "--workload", "sh"), {"shift", "shrink"})
        self.assertEqual(self.bash("scoot-bench", "heap", "--workload", "=", "sh"), {"shift", "shrink"})

    def test_bash_offers_files(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "trace-file").touch()
            self.assertEqual(self.bash("scoot", "replay", f"{folder}/tr"), {f"{folder}/trace-file"})
            self.assertEqual(self.bash("scootd", "--pidfile", f"{folder}/tr"), {f"{folder}/trace-file"})
            self.assertEqual(self.bash("scootd", "--port", f"{folder}/tr"), set())

    def test_fish_offers_every_option_and_subcommand(self):
        for name, program in PROGRAMS.items():
            script = f"source {MANUAL}/fish/{name}.fish; complete -C '{name} --'"
            with tempfile.TemporaryDirectory() as home:
                said = run("fish", "--no-config", "-c", script, env={**os.environ, "HOME": home})
            self.assertEqual((said.returncode, said.stderr), (0, ""))
            offered = {line.split("\t")[0].rstrip("=") for line in said.stdout.splitlines()}
            self.assertEqual({option for option in options_in_help(program) if option.startswith("--")} - offered, set(), name)
        with tempfile.TemporaryDirectory() as home:
            said = run("fish", "--no-config", "-c", f"source {MANUAL}/fish/scoot.fish; complete -C 'scoot '; complete -C 'scoot replay --c'", env={**os.environ, "HOME": home})
        offered = [line.split("\t")[0] for line in said.stdout.splitlines()]
        self.assertEqual(sorted(offered), sorted(["top", "map", "replay", "--cafile", "--cert", "--connections", "--csv"]))

    def test_zsh_reads_them_and_offers_options(self):
        # The completion system draws only in a line editor, so a zsh of its own in a pseudo terminal is asked.
        for name in PROGRAMS:
            said = run("zsh", "-f", "-n", MANUAL / "zsh" / f"_{name}")
            self.assertEqual((said.returncode, said.stderr), (0, ""))
        script = f"""
zmodload zsh/zpty
zpty asked zsh -f -i
zpty -w asked "PS1= PROMPT=; fpath=({MANUAL}/zsh \\$fpath); autoload -U compinit; compinit -u -D; LISTMAX=0; zstyle ':completion:*' list-prompt ''"
zpty -w asked "scoot replay --conn\tDONE"
zpty -w asked "scootd --disable-ev\tDONE"
zpty -w asked "scoot-bench heap --verify-ev\tDONE"
zpty -w asked "exit"
while zpty -r asked line; do print -r -- "$line"; done
"""
        with tempfile.TemporaryDirectory() as home:
            said = run("zsh", "-f", "-c", script, env={**os.environ, "HOME": home, "ZDOTDIR": home, "TERM": "dumb"}, cwd=home)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x08|\r", "", said.stdout)
        for whole in ("--connections=", "--disable-evictions ", "--verify-every="):
            self.assertIn(whole, text.replace("DONE", ""))


if __name__ == "__main__":
    for program in ("mandoc", "man", "bash", "fish", "zsh", "cc"):
        if not shutil.which(program):
            raise SystemExit(f"manual_test.py: {program} is missing (packages.txt)")
    unittest.main(argv=sys.argv[:1], verbosity=1)
