#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the documentation site: the Markdown pages, the man pages and the API reference, with every link between them checked.

    build.py ROOT OUT [MANUAL]      OUT/api is doxygen's; MANUAL is the folder of the built man pages

A link to a page leads to its HTML, one to a public header to its reference, one to another file of the tree to a copy. Ends with
status 1 if anything on the site leads nowhere.
"""
import html
import html.parser
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import markdown  # noqa: E402
import markdown_links  # noqa: E402

STYLE = """:root{--text:#1c1f24;--soft:#5b6470;--line:#d9dde3;--back:#fff;--code:#f4f6f8;--link:#0b62b0}
@media(prefers-color-scheme:dark){:root{--text:#dde2e8;--soft:#9aa4b0;--line:#343b44;--back:#14171b;--code:#1e2329;--link:#6cb4ff}}
*{box-sizing:border-box}body{margin:0;font:16px/1.55 system-ui,sans-serif;color:var(--text);background:var(--back)}
.all{display:grid;grid-template-columns:15rem minmax(0,1fr);max-width:78rem;margin:auto}
nav{padding:1.5rem 1rem;border-right:1px solid var(--line);font-size:.9rem}nav a{display:block;padding:.12rem 0}
nav b{display:block;margin-top:1rem}main{padding:1.5rem 2rem;min-width:0}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
h1,h2,h3{line-height:1.25}h2{margin-top:2.2rem;border-bottom:1px solid var(--line)}
code,pre{font:.88em/1.45 ui-monospace,monospace;background:var(--code);border-radius:4px}code{padding:.1em .3em}
pre{padding:.8rem 1rem;overflow-x:auto}pre code{padding:0;background:none;font-size:1em}
table{border-collapse:collapse;display:block;overflow-x:auto;font-size:.93em}td,th{border:1px solid var(--line);padding:.3rem .6rem;vertical-align:top;text-align:left}
img{max-width:100%}.manual h1{font-size:1.25rem}.manual h2{font-size:1.05rem}.manual .permalink{color:inherit}.manual table,.manual td{border:0;padding:0 .3rem 0 0}.Bl-tag>dd{margin:0 0 .6rem 2rem}.head,.foot{display:none}
@media(max-width:50rem){.all{display:block}nav{border:0;border-bottom:1px solid var(--line)}}
"""

FIRST = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]  # in the menu


def title_of(text, path):
    match = re.search(r"^# +(.*)$", text, re.M)
    return re.sub(r"`|\[([^\]]*)\]\([^)]*\)", r"\1", match[1]) if match else path.stem


class Site:
    def __init__(self, root, out, manual):
        self.root, self.out, self.manual = root.resolve(), out.resolve(), manual
        listed = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "*.md"], capture_output=True, text=True, check=True)
        self.pages = {}  # path in the tree: text
        for name in sorted(listed.stdout.split()):
            path = pathlib.PurePosixPath(name)
            if path.parts[0] == "docs" or len(path.parts) == 1:
                self.pages[name] = (self.root / name).read_text(encoding="utf-8")
        self.manuals = sorted([*manual.glob("*.1"), *manual.glob("man3/*.3")]) if manual else []
        self.manuals = [path for path in self.manuals if not path.read_text().startswith(".so ")]

    def place(self, name):
        """Where a file of the tree is on the site; copies it if it has to be."""
        path = pathlib.PurePosixPath(name)
        if name in self.pages:
            return "index.html" if name == "README.md" else str(path.with_suffix("")) + ".html"
        if path.parts[:2] == ("include", "scoot"):
            reference = f"api/{path.name.replace('_', '__').replace('.', '_8')}.html"
            if (self.out / reference).exists():
                return reference
        source = self.root / name
        if not source.exists():
            return f"files/{name}"  # and it will be found missing
        if source.is_dir():
            return self.folder_page(name)
        # Sources are shown, not downloaded.
        to = f"files/{name}" + ("" if path.suffix in (".svg", ".png") else ".txt")
        (self.out / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, self.out / to)
        return to

    def folder_page(self, name):
        to = f"folders/{name.replace('/', '-')}.html"
        if not (self.out / to).exists():
            (self.out / "folders").mkdir(exist_ok=True)
            (self.out / to).touch()
            inside = subprocess.run(["git", "-C", str(self.root), "ls-files", "-co", "--exclude-standard", name], capture_output=True, text=True, check=True)
            files = [file for file in sorted(inside.stdout.split()) if (self.root / file).exists()]
            lines = [f'<li><a href="{self.relative(to, self.place(file))}">{html.escape(file)}</a></li>' for file in files]
            self.write(to, name, f"<h1>{html.escape(name)}</h1><ul>{''.join(lines)}</ul>")
        return to

    @staticmethod
    def relative(source, target):
        up = "../" * (len(pathlib.PurePosixPath(source).parts) - 1)
        return up + target

    def link(self, page, target):
        if markdown_links.is_external(target) or target.startswith("#"):
            return target
        file, _, anchor = target.partition("#")
        path = ((self.root / page).parent / file).resolve()
        to = self.relative(self.place(page), self.place(path.relative_to(self.root).as_posix()))
        return to + (f"#{anchor}" if anchor else "")

    def menu(self, at):
        def entries(items):
            return "".join(f'<a href="{self.relative(at, to)}">{html.escape(title)}</a>' for to, title in items)

        first = [name for name in FIRST if name in self.pages]
        design = [name for name in self.pages if name.startswith("docs/design/")]
        others = [name for name in self.pages if name not in first and name not in design]
        titled = lambda names: [(self.place(name), "Overview" if name == "README.md" else title_of(self.pages[name], pathlib.PurePosixPath(name))) for name in names]
        parts = [("Scoot", titled(first)), ("Guides and reference", titled(others) + [("api/index.html", "API reference")]), ("Design", titled(design))]
        parts.append(("Manual", [(f"man/{path.name}.html", f"{path.stem}({path.suffix[1:]})") for path in self.manuals]))
        return "".join(f"<b>{title}</b>{entries(items)}" for title, items in parts if items)

    def write(self, to, title, body, kind=""):
        path = self.out / to
        path.parent.mkdir(parents=True, exist_ok=True)
        name = title if title.startswith("Scoot") else f"{title} - Scoot"
        path.write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<title>{html.escape(name)}</title><link rel="stylesheet" href="{self.relative(to, "style.css")}"></head>'
            f'<body><div class="all"><nav>{self.menu(to)}</nav><main class="{kind}">{body}</main></div></body></html>\n',
            encoding="utf-8",
        )

    def build(self):
        for name in ("files", "folders", "man", "docs"):
            shutil.rmtree(self.out / name, ignore_errors=True)
        (self.out / "style.css").write_text(STYLE, encoding="utf-8")
        # GitHub's anchors, so that links work in both places.
        slugify = lambda value, separator: markdown_links.slug(html.unescape(value))
        for name, text in self.pages.items():
            maker = markdown.Markdown(extensions=["tables", "fenced_code", "sane_lists", "toc"], extension_configs={"toc": {"slugify": slugify}})
            # GitHub lets a list follow a line of text; here it wants a line between.
            body = maker.convert(re.sub(r"(?m)^((?![-*] |\d+\. |[ \t|#]).+\n)(?=[-*] |1\. )", r"\1\n", text))
            fix = lambda match: f'{match[1]}="{html.escape(self.link(name, html.unescape(match[2])), quote=True)}"'
            body = re.sub(r'(?<=[ <])(href|src)="([^"]*)"', fix, body)
            self.write(self.place(name), title_of(text, pathlib.PurePosixPath(name)), body)
        for path in self.manuals:
            said = subprocess.run(["mandoc", "-T", "html", "-O", "fragment,man=%N.%S.html", str(path)], capture_output=True, text=True, check=True)
            own = {f"{one.name}.html" for one in self.manuals}
            # Pages of other programs are elsewhere.
            body = re.sub(r'<a class="Xr" href="([^"]*)">(.*?)</a>', lambda match: match[0] if match[1] in own else match[2], said.stdout)
            self.write(f"man/{path.name}.html", f"{path.stem}({path.suffix[1:]})", body, "manual")


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.anchors = [], set()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        self.links += [value for name in ("href", "src") if (value := values.get(name))]


def broken_links(out):
    """Everything in the built pages that leads nowhere; doxygen's own anchors are its affair."""
    read = {}
    for path in out.rglob("*.html"):
        reader = Reader()
        reader.feed(path.read_text(encoding="utf-8", errors="replace"))
        read[path.resolve()] = reader
    found = []
    for path, reader in read.items():
        for link in set(reader.links):
            if markdown_links.is_external(link) or link.startswith(("//", "javascript:")):
                continue
            target, _, anchor = link.partition("#")
            file = (path.parent / urllib.parse.unquote(target)).resolve() if target else path
            where = f"{path.relative_to(out.resolve())}: {link}"
            if not file.is_file():
                found.append(f"{where}: there is no such file")
            elif anchor and path.parent.name != "api" and file in read and urllib.parse.unquote(anchor) not in read[file].anchors:
                found.append(f"{where}: there is no such anchor")
    return sorted(found)


def main(root, out, manual=None):
    site = Site(pathlib.Path(root), pathlib.Path(out), pathlib.Path(manual) if manual else None)
    site.build()
    found = broken_links(pathlib.Path(out))
    print("\n".join(found))
    pages = len(list(pathlib.Path(out).rglob("*.html")))
    print(f"{pages} pages, {len(found)} links that lead nowhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
