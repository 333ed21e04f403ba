#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes man pages and shell completions from what the programs and headers say of themselves, so that they agree.

    manual.py page TEMPLATE PROGRAM OUT         fills the lines @OPTIONS@ and @OPTIONS SUBCOMMAND...@ of a page in mdoc
                                                with the options that PROGRAM SUBCOMMAND... --help lists
                                                and @BENCHES@ with a section for each subcommand
    manual.py completion SHELL PROGRAM OUT      bash, zsh or fish
    manual.py api HEADER TEMPLATE OUTDIR        a page of section 3 for each part of scoot.h, links to it by the names of its
                                                functions, and the overview, TEMPLATE with a list of them at @PAGES@
    manual.py names HEADER                      the names of the files that `api` makes

Help is read as CLI11 prints it and as scootd does. What cannot be read is an error, not an omission.
"""
import dataclasses
import pathlib
import re
import subprocess
import sys

DATE = "November 23, 2026"


@dataclasses.dataclass
class Option:
    short: str  # "-p" or ""
    long: str  # "--port" or ""
    argument: str  # "N", or "" for a flag
    text: str


@dataclasses.dataclass
class Help:
    sections: list  # of (title, [Option])
    positionals: list  # of Option, whose `long` is the name
    subcommands: list  # of (name, text)

    def options(self):
        return [option for _, options in self.sections for option in options]


# ---- reading help ---------------------------------------------------------------------------------------------------

NAMES = re.compile(r"^ {2,6}(?:(-[A-Za-z0-9])(?:, ?|(?=[ =]|$)))?(--[a-z0-9-]+)?(?:[= ](\S.*?))?(?: {2,}(.*))?$")
TYPE = re.compile(r"^(TEXT|UINT|INT|FLOAT|[A-Z]+)(?::(.*?))?(?:=(\S+))?( \.\.\.)?( REQUIRED)?$")


def words_of(argument, text):
    """CLI11's description of a value, such as "UINT:INT in [1 - 9]=3", as an argument and words after the text."""
    match = TYPE.match(argument)
    if not match:
        return argument, text
    name, check, default, several, _ = match.groups()
    name = {"UINT": "N", "INT": "N", "FLOAT": "X"}.get(name, name)
    more = []
    if check and (span := re.search(r"in \[(\S+) - (\S+)\]", check)):
        more.append(f"{span[1]} to {span[2]}")
    elif check and check.startswith("{"):
        more.append("one of " + check.strip("{}").replace(",", ", "))
    if several:
        more.append("several, with commas")
    if default:
        more.append("default " + default.strip("[]").replace('"', ""))
    return name, text + (f" ({'; '.join(more)})" if more else "")


def parse_help(text):
    result = Help([], [], [])
    title, last = None, None
    for line in text.splitlines():
        if not line.strip():
            last = None
        elif not line.startswith(" "):
            title, last = line.rstrip(":"), None
        elif line.startswith(" " * 20) and last is not None:
            last.text = (last.text + " " + line.strip()).strip()
        elif title in ("Positionals", "Subcommands"):
            name, _, rest = line.strip().partition("  ")
            if title == "Positionals":
                last = Option("", name.split(" ")[0], name.partition(" ")[2], rest.strip())
                result.positionals.append(last)
            else:
                last = Option("", name, "", rest.strip())
                result.subcommands.append(last)
        else:
            match = NAMES.match(line)
            if not match or not (match[1] or match[2]):
                raise SystemExit(f"manual.py: cannot read this line of help: {line!r}")
            last = Option(match[1] or "", match[2] or "", match[3] or "", match[4] or "")
            if not result.sections or result.sections[-1][0] != title:
                result.sections.append((title, []))
            result.sections[-1][1].append(last)
    for option in result.options() + result.positionals:
        option.argument, option.text = words_of(option.argument, option.text)
    result.subcommands = [(one.long, one.text) for one in result.subcommands]
    return result


def help_of(program, *subcommands):
    said = subprocess.run([program, *subcommands, "--help"], capture_output=True, text=True, timeout=60)
    if said.returncode != 0:
        raise SystemExit(f"manual.py: {program} {' '.join(subcommands)} --help failed: {said.stderr}")
    return parse_help(said.stdout)


# ---- pages in mdoc --------------------------------------------------------------------------------------------------


def roff(text):
    """Running text, safe in mdoc: a sentence a line, as its linter asks."""
    text = text.replace("\\", "\\e")
    text = re.sub(r"(?<![A-Za-z0-9])-(?=\S)", r"\\-", text)
    text = re.sub(r"(?<=[A-Za-z0-9)])([.:?!]) (?=[A-Z\"])", r"\1" + "\n", text)
    return "\n".join("\\&" + line if line[:1] in ".'" else line for line in text.split("\n"))


def verbatim(line):
    line = line.replace("\\", "\\e")
    return "\\&" + line if line[:1] in (".", "'") else line


def capital(text):
    # Not what is typed, as in "auto, csv or twitter".
    return text if text.partition(" ")[0].endswith(",") else text[:1].upper() + text[1:]


def mdoc_options(options):
    lines = [".Bl -tag -width Ds"]
    for option in options:
        item = ".It "
        if option.short:
            item += f"Fl {option.short[1:]}"
        if option.long:
            item += (" , " if option.short else "") + f"Fl \\-{option.long[2:]}"
        if option.argument:
            argument = option.argument.replace(" ...", "...")
            item += (" Ns = Ns Ar " if option.long else " Ar ") + argument.replace(",", "\\&,")
        lines += [item, roff(capital(option.text)) + ("" if option.text.endswith(".") else ".")]
    return lines + [".El"]


def fill(template, program):
    # A section for each bench, and a part of it for each command of a bench.
    benches = []
    if "@BENCHES@" in template:
        for path, found in tree_of(program).items():
            if len(path) == 1:
                about = dict(help_of(program).subcommands)[path[0]]
                benches += [f".Sh {path[0].upper()}", f".Cm {path[0]} :", roff(about) + ".", f"@OPTIONS {path[0]}@"]
                for command, text in found.subcommands:
                    benches += [f".Ss {path[0]} {command}", roff(capital(text)) + ".", f"@OPTIONS {path[0]} {command}@"]
        template = template.replace("@BENCHES@", "\n".join(benches))
    out = []
    for line in template.splitlines():
        match = re.fullmatch(r"@OPTIONS(.*)@", line)
        if not match:
            out.append(line.replace("@DATE@", DATE))
            continue
        found = help_of(program, *match[1].split())
        if found.positionals:
            out.append(".Bl -tag -width Ds")
            for one in found.positionals:
                out += [f".It Ar {one.long}", roff(capital(one.text)) + "."]
            out.append(".El")
        for title, options in found.sections:
            if title not in ("Options", "OPTIONS"):
                out.append(f".Ss {capital(title)}")
            out += mdoc_options(options)
    return "\n".join(out) + "\n"


# ---- completions ----------------------------------------------------------------------------------------------------


def tree_of(program):
    """{words of subcommands: Help}, the root at ()."""
    tree = {}

    def add(path):
        tree[path] = help_of(program, *path)
        for name, _ in tree[path].subcommands:
            add(path + (name,))

    add(())
    return tree


def takes_file(option):
    return option.argument in ("PATH", "FILE") or bool(re.search(r"\bfile\b|folder|the (scootd|memcached) to run", option.text)) and bool(option.argument)


def names_of(option):
    return [name for name in (option.short, option.long) if name.startswith("-")]


def choices_of(option):
    match = re.search(r"\(one of ([^;)]*)", option.text)
    return match[1].split(", ") if match else []


def shell_quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def bash(name, tree):
    function = "_" + name.replace("-", "_")
    lines = [
        f"# bash completion for {name}; made from its --help.",
        f"{function}() {{",
        "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} path= one",
        "  # bash takes --name=value apart: --name, =, value.",
        "  if [[ $word == = ]]; then word=; elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi",
        "  for one in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do",
        "    case \"$path $one\" in",
    ]
    for path in tree:
        if path:
            before = " ".join(path[:-1])
            lines.append(f"      {shell_quoted(f'{before} {path[-1]}')}) path={shell_quoted(' '.join(path))} ;;")
    lines += ["    esac", "  done", "  COMPREPLY=()", '  case "$path" in']
    for path, found in tree.items():
        lines.append(f"    {shell_quoted(' '.join(path))})")
        lines.append('      case "$before" in')
        for option in found.options():
            if not option.argument:
                continue
            pattern = "|".join(names_of(option))
            if choices := choices_of(option):
                lines.append(f"        {pattern}) COMPREPLY=($(compgen -W {shell_quoted(' '.join(choices))} -- \"$word\")); return ;;")
            elif takes_file(option):
                lines.append(f"        {pattern}) compopt -o filenames; COMPREPLY=($(compgen -f -- \"$word\")); return ;;")
            else:
                lines.append(f"        {pattern}) return ;;")
        lines.append("      esac")
        options = " ".join(name for option in found.options() for name in names_of(option))
        commands = " ".join(name for name, _ in found.subcommands)
        lines.append("      if [[ $word == -* ]]; then")
        lines.append(f"        COMPREPLY=($(compgen -W {shell_quoted(options)} -- \"$word\"))")
        if commands:
            lines += ["      else", f"        COMPREPLY=($(compgen -W {shell_quoted(commands)} -- \"$word\"))"]
        elif found.positionals:
            lines += ["      else", '        compopt -o filenames; COMPREPLY=($(compgen -f -- "$word"))']
        lines += ["      fi", "      ;;"]
    lines += ["  esac", "}", f"complete -F {function} {name}", ""]
    return "\n".join(lines)


def zsh(name, tree):
    def described(text):
        return re.sub(r"([\[\]:\\'])", lambda match: "'\\''" if match[1] == "'" else "\\" + match[1], text)

    function = "_" + name.replace("-", "_")
    lines = [f"#compdef {name}", f"# zsh completion for {name}; made from its --help."]
    for path, found in reversed(tree.items()):
        lines.append("_".join((function,) + path).replace("-", "_") + "() {")
        lines.append("  local context state line")
        specs = []
        for option in found.options():
            names = names_of(option)
            action = ""
            if option.argument:
                choices = choices_of(option)
                what = f"({' '.join(choices)})" if choices else "_files" if takes_file(option) else ""
                action = f":{described(option.argument)}:{what}"
            several = "*" if "with commas" in option.text or "repeated" in option.text else ""
            for one in names:
                exclude = f"({' '.join(names)})" if len(names) > 1 and not several else ""
                equals = "=" if option.argument and one.startswith("--") else ""
                specs.append(f"'{exclude}{several}{one}{equals}[{described(option.text)}]{action}'")
        if found.subcommands:
            commands = " ".join(f"{command}\\:{shell_quoted(text)[1:-1].replace(':', '').replace(' ', chr(92) + ' ')}" for command, text in found.subcommands)
            specs += [f"'1:command:(({commands}))'", "'*::argument:->arguments'"]
        else:
            specs += [f"'{number}:{described(one.long)}:_files'" for number, one in enumerate(found.positionals, 1)]
        lines.append("  _arguments -C \\\n    " + " \\\n    ".join(specs))
        if found.subcommands:
            lines += ['  if [[ $state == arguments ]]; then', '    case "${line[1]}" in']
            for command, _ in found.subcommands:
                lines.append(f"      {command}) {'_'.join((function,) + path + (command,)).replace('-', '_')} ;;")
            lines += ["    esac", "  fi"]
        lines.append("}")
    lines += [f'{function} "$@"', ""]
    return "\n".join(lines)


def fish(name, tree):
    lines = [f"# fish completion for {name}; made from its --help.", f"complete -c {name} -f"]
    for path, found in tree.items():
        inside = " && ".join(f"__fish_seen_subcommand_from {one}" for one in path)
        commands = " ".join(command for command, _ in found.subcommands)
        outside = f"not __fish_seen_subcommand_from {commands}" if commands else ""
        condition = " && ".join(part for part in (inside, outside) if part)
        start = f"complete -c {name}" + (f" -n {shell_quoted(condition)}" if condition else "")
        for command, text in found.subcommands:
            lines.append(f"{start} -a {command} -d {shell_quoted(text)}")
        if found.positionals and not commands:
            lines.append(f"{start} -F")
        for option in found.options():
            line = f"complete -c {name}" + (f" -n {shell_quoted(condition)}" if path and condition else "")
            if option.short:
                line += f" -s {option.short[1:]}"
            if option.long:
                line += f" -l {option.long[2:]}"
            if option.argument:
                choices = choices_of(option)
                line += f" -x -a {shell_quoted(' '.join(choices))}" if choices else " -r -F" if takes_file(option) else " -x"
            lines.append(f"{line} -d {shell_quoted(option.text)}")
    return "\n".join(lines) + "\n"


# ---- pages of the C interface ---------------------------------------------------------------------------------------

# Parts of scoot.h, the pages they are described in, and of what.
PARTS = {
    "pool": ("scoot_pool", "memory under a budget, shared by heaps"),
    "kinds and movers": ("scoot_kind", "kinds of blocks and the hooks that move them"),
    "heap": ("scoot_heap", "allocate, free and pin blocks that may move"),
    "compaction": ("scoot_compact", "give memory back by moving blocks together"),
    "statistics": ("scoot_stats", "what a heap holds and did"),
    "diagnosis": ("scoot_explain", "what an address is, who pins what, the heap as JSON"),
    "purgeable memory": ("scoot_purgeable", "memory that the kernel may take back at any time"),
    "memory pressure": ("scoot_pressure", "notice of memory pressure, with how much to give back"),
}
RULER = re.compile(r"^/\* ---- (.*?) -+ \*/$", re.M)


def comment_text(comment):
    text = re.sub(r"^/\*+ ?|\*/$", "", comment.strip(), flags=re.S)
    return re.sub(r"\s*\n\s*\* ?", " ", text).strip()


def items_of(part):
    """The declarations of a part, each with the comment before it: (comment, declaration)."""
    items, comment, at = [], "", 0
    lines = part.split("\n")
    while at < len(lines):
        line = lines[at]
        if line.startswith("/*"):
            block = [line]
            while "*/" not in lines[at]:
                at += 1
                block.append(lines[at])
            comment = comment_text("\n".join(block))
        elif line.startswith("#") or not line.strip():
            if not line.strip():
                comment = ""
        else:
            block = [line]
            closed = re.compile(r"^}[^;]*;|;\s*(/\*.*\*/)?$" if "{" not in line else r"^}.*")
            while not closed.search(lines[at]) and not re.search(r"\{.*\}\s*$", line):
                at += 1
                block.append(lines[at])
            declaration = "\n".join(block)
            if behind := re.search(r";\s*/\* (.*) \*/$", declaration):
                if FUNCTION.match(declaration):
                    comment = comment or capital(behind[1]) + "."
            items.append((comment, declaration))
            comment = ""
        at += 1
    return items


FUNCTION = re.compile(r"^(?:SCOOT_EXPORT|static inline) (.*?)(\w+)\((.*)\)\s*[;{]", re.S)


def function_of(declaration):
    """(type, name, [parameters]) or None."""
    match = FUNCTION.match(declaration)
    if not match:
        return None
    parameters = [re.sub(r"\s+", " ", one).strip() for one in match[3].split(",")]
    return match[1].strip(), match[2], parameters


def parts_of(header):
    pieces = RULER.split(header)
    known = dict(zip(pieces[1::2], pieces[2::2]))
    if set(known) != set(PARTS):
        raise SystemExit(f"manual.py: the parts of scoot.h and those that have pages differ: {set(known) ^ set(PARTS)}")
    end = '#ifdef __cplusplus'
    return {name: items_of(text.split(end)[0]) for name, text in known.items()}


def fn(name, parameters):
    return " ".join([name] + [f'"{one}"' for one in parameters])


def page_of(part, items):
    page, about = PARTS[part]
    names = [function_of(declaration)[1] for _, declaration in items if function_of(declaration)]
    names = names if page in names else [page] + names
    names.remove(page)
    names.insert(0, page)
    lines = [".\\\" Made from scoot.h.", f".Dd {DATE}", f".Dt {page.upper()} 3", ".Os Scoot", ".Sh NAME"]
    lines += [f".Nm {name} ," for name in names[:-1]] + [f".Nm {names[-1]}", f".Nd {about}"]
    lines += [".Sh LIBRARY", "Scoot (libscoot, \\-lscoot)", ".Sh SYNOPSIS", ".In scoot/scoot.h"]
    for _, declaration in items:
        if found := function_of(declaration):
            lines += [f".Ft \"{found[0]}\"", f".Fn {fn(found[1], found[2])}"]
    lines += [".Sh DESCRIPTION"]
    tagged = False
    for comment, declaration in items:
        if found := function_of(declaration):
            if tagged and not comment:  # described together with the one before
                last = max(at for at, line in enumerate(lines) if line.startswith(".It Fn"))
                lines[last] += f" , Fn {found[1]}"
                continue
            if not tagged:
                lines.append(".Bl -tag -width Ds")
                tagged = True
            lines += [f".It Fn {found[1]}", roff(comment or f"Returns a {found[0]}, see above.")]
            continue
        if tagged:
            lines.append(".El")
            tagged = False
        if comment:
            lines += [".Pp", roff(comment)]
        lines += [".Bd -literal", *(verbatim(line) for line in declaration.split("\n")), ".Ed"]
    if tagged:
        lines.append(".El")
    others = sorted(other for other, _ in PARTS.values() if other != page)
    lines += [".Sh SEE ALSO", ".Xr scoot 3 ,"]
    lines += [f".Xr {other} 3 ," for other in others[:-1]] + [f".Xr {others[-1]} 3"]
    text = "\n".join(lines) + "\n"
    return text.replace(".Sh DESCRIPTION\n.Pp\n", ".Sh DESCRIPTION\n")


def api_files(header):
    """{file name: text or the page it leads to}"""
    files = {}
    parts = parts_of(header)
    pages = {page for page, _ in PARTS.values()}
    for part, items in parts.items():
        page = PARTS[part][0]
        files[f"{page}.3"] = page_of(part, items)
        for _, declaration in items:
            found = function_of(declaration)
            if found and found[1] not in pages:
                files[f"{found[1]}.3"] = f".so man3/{page}.3\n"
    return files


# ---- the command line -----------------------------------------------------------------------------------------------


def main(arguments):
    if arguments[:1] == ["page"] and len(arguments) == 4:
        template, program, out = arguments[1:]
        pathlib.Path(out).write_text(fill(pathlib.Path(template).read_text(encoding="utf-8"), program), encoding="utf-8")
    elif arguments[:1] == ["completion"] and len(arguments) == 4:
        shell, program, out = arguments[1:]
        name = pathlib.Path(program).name
        text = {"bash": bash, "zsh": zsh, "fish": fish}[shell](name, tree_of(program))
        pathlib.Path(out).write_text(text, encoding="utf-8")
    elif arguments[:1] == ["api"] and len(arguments) == 4:
        header, template, out = arguments[1:]
        files = api_files(pathlib.Path(header).read_text(encoding="utf-8"))
        pages = "\n".join(f".It Xr {page} 3\n{capital(about)}." for page, about in PARTS.values())
        overview = pathlib.Path(template).read_text(encoding="utf-8").replace("@PAGES@", pages).replace("@DATE@", DATE)
        for name, text in {**files, "scoot.3": overview}.items():
            (pathlib.Path(out) / name).write_text(text, encoding="utf-8")
    elif arguments[:1] == ["names"] and len(arguments) == 2:
        header = pathlib.Path(arguments[1]).read_text(encoding="utf-8")
        print(";".join(sorted([*api_files(header), "scoot.3"])), end="")
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
