# SPDX-License-Identifier: MIT
"""Every option of memcached is one of ours too, or is refused with a reason, and docs/options.md says which.

The names are those that the installed memcached's --help has, and those below, which it does not tell or which came
later. Nothing is started: one of ours that is looked at last and is wrong comes with the one that is tried, so what is
complained of says what became of it.
"""

import os
import re
import subprocess
import unittest

import harness

# Of -o: accepted by memcached 1.6.18 without a word in its --help, and added up to 1.6.45.
UNTOLD = """slab_reassign no_slab_reassign slab_automove no_slab_automove slab_automove_ratio slab_automove_window slab_sizes
no_chunked_items lru_crawler lru_maintainer no_maxconns_fast inline_ascii_resp no_inline_ascii_resp drop_privileges
no_drop_privileges relaxed_privileges resp_obj_mem_limit meta_response_old ext_io_depth""".split()
ADDED = """proxy_config proxy_arg proxy_uring ssl_kernel_tls ssl_min_version ssl_session_cache slab_automove_freeratio
ext_max_sleep""".split()

VALUES = {  # of options that look at theirs
    "idle_timeout": "1", "watcher_logbuf_size": "256", "ssl_verify_mode": "1", "ssl_min_version": "2", "ssl_keyformat": "PEM",
}  # fmt: skip
TLS = ["-Z", "-o", "ssl_chain_cert=/none,ssl_key=/none"]


def documented():
    """Of docs/options.md: {name of -o: what the table says of it}."""
    with open(os.path.join(harness.ROOT, "docs", "options.md"), encoding="utf-8") as file:
        section = file.read().split("\n## -o\n", 1)[1].split("\n## ", 1)[0]
    found = {}
    for names, text in re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", section, re.M):
        for name in names.split(", "):
            found[re.split(r"[= ]", name)[0]] = text
    return found


def reference_help():
    return subprocess.run([harness.need_reference(), "--help"], capture_output=True, text=True, timeout=20).stdout


class OptionNamesTest(unittest.TestCase):
    def complaint(self, *options):
        run = harness.run_briefly(*options, "--http=last")
        self.assertEqual(run.returncode, 64, options)
        return run.stderr.decode()

    def test_each_name_of_o_is_accepted_or_refused_as_documented(self):
        told = re.findall(r"^   - (\w+):", reference_help(), re.M)
        self.assertGreater(len(told), 40)
        table = documented()
        accepted = []
        for name in sorted({*told, *UNTOLD, *ADDED}):
            with self.subTest(name=name):
                self.assertIn(name, table, "docs/options.md does not tell of it")
                if not table[name].startswith("refused"):
                    accepted.append(f"{name}={VALUES.get(name, '1')}")
                    continue
                said = self.complaint(*TLS, "-o", f"{name}=1")
                self.assertRegex(said, rf"^scootd: -o {name}: \w+", "no reason is given")
                self.assertNotIn("no such option", said)
        self.assertGreater(len(accepted), 40)
        self.assertIn("--http: 'last'", self.complaint(*TLS, "-o", ",".join(accepted)))
        self.assertRegex(self.complaint(*TLS, "-o", "ssl_keyformat=ENGINE"), "engines")
        self.assertIn("no such option", self.complaint("-o", "no_such_thing"))

    def test_names_in_the_table_are_options(self):
        for name, text in documented().items():
            with self.subTest(name=name):
                said = self.complaint(*TLS, "-o", f"{name}={VALUES.get(name, '1')}")
                self.assertNotIn("no such option", said)
                self.assertEqual("--http: 'last'" not in said, text.startswith("refused"), said)

    def test_each_short_and_long_option_is_known(self):
        values = {"a": "700", "l": "127.0.0.1", "B": "auto", "I": "1m", "u": "root", "s": "/none", "o": "modern", "e": "/none",
                  "Y": "/none", "P": "/none", "f": "1.25", "D": ":", "U": "0"}  # fmt: skip
        refused = {"k", "L"}
        found = re.findall(r"^-(\w)[, ] *(?:--([\w-]+))?(=| +<)?", reference_help(), re.M)
        self.assertGreater(len(found), 30)
        for letter, word, value in found:
            for option in [f"-{letter}"] + ([f"--{word}"] if word else []):
                with self.subTest(option=option):
                    if letter in "hVi":
                        run = harness.run_briefly(option)
                        self.assertEqual((run.returncode, run.stderr), (0, b""))
                        self.assertTrue(run.stdout)
                        continue
                    more = [option, values.get(letter, "4")] if value or letter in "RoND" else [option]
                    said = self.complaint(*more, *(TLS[1:] if letter == "Z" else []))
                    if letter in refused:
                        self.assertRegex(said, f"^scootd: -{letter}: \\w+")
                    elif letter == "S":
                        self.assertNotIn("not expected", said)  # it looks for a file of names first
                    else:
                        self.assertIn("--http: 'last'", said)

    def test_license_is_that_of_the_tree(self):
        with open(os.path.join(harness.ROOT, "LICENSE"), "rb") as file:
            self.assertEqual(harness.run_briefly("-i").stdout.strip(), file.read().strip())


if __name__ == "__main__":
    unittest.main()
