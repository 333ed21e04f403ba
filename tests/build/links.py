#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Goal: no link in README.md or the documentation leads nowhere.

Method: reads every Markdown file of the tree and reports relative links to files that are not there, or not in the tree, and to
headings that do not exist. Links to other sites are not followed. Takes the root of the tree. With --self-test it plants links of
every sort, and fails unless the broken ones, and no others, are reported.
"""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "docs" / "site"))
sys.dont_write_bytecode = True
import markdown_links  # noqa: E402

SKIPPED = {"build", "node_modules", ".git"}


def pages_of(root):
    return sorted(path for path in root.rglob("*.md") if not SKIPPED & set(path.relative_to(root).parts[:-1]))


def offences(root):
    root = root.resolve()
    texts = {path: path.read_text(encoding="utf-8") for path in pages_of(root)}
    anchors = {path: markdown_links.anchors_of(text) for path, text in texts.items()}
    found = [] if texts else [f"{root}: no pages"]
    for path, text in texts.items():
        for line, link in markdown_links.links_of(text):
            where = f"{path.relative_to(root)}:{line}: {link}"
            if markdown_links.is_external(link):
                continue
            target, _, anchor = link.partition("#")
            file = (path.parent / target).resolve() if target else path
            if target.startswith("/") or not file.is_relative_to(root):
                found.append(f"{where}: leads out of the tree")
            elif not file.exists():
                found.append(f"{where}: there is no such file")
            elif SKIPPED & set(file.relative_to(root).parts):
                found.append(f"{where}: leads to what is not kept")
            elif anchor and (file not in anchors or anchor not in anchors[file]):
                found.append(f"{where}: there is no such heading")
    return found


SELF_TEST = {
    "README.md": """# Title
[a](docs/a.md) [b](docs/a.md#two-words--more) [again](docs/a.md#twice-1) [file](src/x.hpp) ![image](image.svg) [here](#title)
[out](https://example.org/none#none) [mail](mailto:a@example.org) `[code](none)` [folder](docs) [`code`](docs/a.md "with a title")
```
[fenced](none)
```
[bad1](none.md) [bad2](docs/a.md#none) ![bad3](none.svg) [bad4](../outside.md) [bad5](#none) [bad6](/README.md)
[bad
7](docs/none.md) <a href="bad8.md">x</a> [bad9](src/x.hpp#L1) [bad10](build/x.md)
""",
    "docs/a.md": "# Two words, `& more`\n\n## Twice\n\n## Twice\n\n[up](../README.md#title) [bad11](README.md)\n",
    "src/x.hpp": "",
    "image.svg": "",
    "build/x.md": "[unread](none)",
}


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in SELF_TEST.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        reported = offences(root)
        expected = ["none.md", "docs/a.md#none", "none.svg", "../outside.md", "#none", "/README.md", "docs/none.md", "bad8.md", "src/x.hpp#L1", "build/x.md", "README.md"]
        got = [line.split(": ")[1] for line in reported]
        if sorted(got) != sorted(expected):
            raise SystemExit(f"reported {sorted(got)}, not {sorted(expected)}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    else:
        reported = offences(pathlib.Path(sys.argv[1]))
        print("\n".join(reported))
        sys.exit(1 if reported else 0)
