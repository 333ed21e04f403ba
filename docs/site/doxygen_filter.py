#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Doxygen's input filter: our headers say what they have to say in plain comments, which it is taught to read.

    // text                   before a declaration, without a blank line between, documents it, and all declarations that
                              follow it without a blank line or comment
    declaration;  // text     documents the declaration
    // SPDX... // text        at the top of a file documents the file

Fields and enumerators without a comment are documented by their names. Deleted and defaulted members are left out. What is
left undocumented are types, functions and concepts that nothing was said of: doxygen warns of them, and ./dev docs fails.
Prints the file given, changed.
"""
import re
import sys

ESCAPES = re.compile(r"`[^`]*`|[\\@<>#%&]")
FIELD = re.compile(r"^\s+(?!return |using |friend |typedef |static_assert|public:|private:|protected:)[\w:<>,\s*&()]+?\b(\w+)(\[\w*\])?( = [^;]*|\{\})?[;,]$")
SEVERAL = re.compile(r"^\s+([\w:]+) (\w+ = \w+(?:, \w+ = \w+)+);$")
CONSTANT = re.compile(r"^(?:  static |inline )constexpr [\w:]+ (\w+) = .*;$")
# What every reader of C++ knows, and moves.
STANDARD = re.compile(
    r"^ +(?:template .*>)?(?:\[\[nodiscard\]\] )?(?:constexpr |friend |explicit |static )*(?:const )?(?:[\w:]+(?:<[\w:, ]+>)?[*&]* )?"
    r"(?:(?:size|empty|capacity|data|front|back|begin|end|push_back|pop_back|contains)\(|operator\W|operator bool\(|(?P<c>\w+)\((?P=c)(?:<\w+>)?&& \w+\))")
LEFT_OUT = re.compile(r"^\s*[^/]*(= (delete|default)|operator delete\(.*)(.*);.*$|^\s*friend .*;$|^\s*static_assert\(.*;$|^\s*(class|struct|enum class) \w+( : [\w: ]+)?;$")


def escaped(text):
    return ESCAPES.sub(lambda match: match[0] if match[0].startswith("`") else "\\" + match[0], text)


def comment_lines(block, start):
    """The lines of a comment as one of doxygen's; drawings and code, which are indented, stay as they are."""
    out, drawing = [], False
    for text in block:
        indented = text.startswith("    ")
        if indented and not drawing:
            out.append(f"{start} \\verbatim")
        if drawing and not indented and text.strip():
            out.append(f"{start} \\endverbatim")
        if text.strip() or not drawing:
            drawing = indented
        out.append(f"{start} {text if drawing else escaped(text)}")
    if drawing:
        out.append(f"{start} \\endverbatim")
    return out


def trailing(line, separator):
    """Code and its comment at the end of the line, or None."""
    match = re.match(rf"^(.*\S)\s+{separator} (.*)$", line)
    return match.groups() if match and not match[1].lstrip().startswith(("//", "/*", "#")) else None


def words(name):
    return name.replace("_", " ")


def cpp(lines):
    out, at, in_type, depth_of_group = [], 0, 0, None
    top = True
    while at < len(lines):
        line = lines[at]
        indent = line[: len(line) - len(line.lstrip())]
        if line.lstrip().startswith("//"):
            block = []
            while at < len(lines) and lines[at].lstrip().startswith("//"):
                block.append(lines[at].lstrip()[2:].removeprefix(" "))
                at += 1
            follows = lines[at].strip() if at < len(lines) else ""
            if top:
                out += [f"/// \\file"] + comment_lines([one for one in block if not one.startswith("SPDX")], "///")
                top = False
            elif follows and not block[0].startswith("---") and not follows.startswith(("}", "#", "public:", "private:")):
                out += comment_lines(block, f"{indent}///")
                paragraph = at
                while paragraph < len(lines) and lines[paragraph].strip() and not lines[paragraph].lstrip().startswith(("//", "}")):
                    paragraph += 1
                here = [one for one in lines[at:paragraph] if one.startswith(indent) and one[len(indent) : len(indent) + 1] not in (" ", "}") and not LEFT_OUT.match(one)]
                if len([one for one in here if re.search(r"(;|\{.*\})( *//.*)?$", one)]) > 1 and not any("{" in one and "}" not in one for one in here):
                    out.append(f"{indent}///@{{")
                    out += [code(one) for one in lines[at:paragraph]]
                    out.append(f"{indent}///@}}")
                    at = paragraph
                elif FIELD.match(lines[at]) and trailing(lines[at], "//") is None:
                    out.append(lines[at])  # documented already
                    at += 1
            continue
        top = top and not line.strip()
        if re.match(r"^struct std::", line):  # a specialisation of the standard library's, which doxygen cannot place
            while not lines[at].startswith("};"):
                out.append("")
                at += 1
        if re.match(r"^\s*(struct|class|enum class|union) [^;]*\{( *//.*)?$", line):
            in_type += 1
        elif in_type and re.match(r"^\s*\};", line):
            in_type -= 1
        out.append(code(line, bool(in_type)))
        at += 1
    return out


def code(line, in_type=False):
    if LEFT_OUT.match(line):
        return ""
    indent = line[: len(line) - len(line.lstrip())]
    if parts := trailing(line, "//"):
        if parts[0].endswith("{") or re.match(r"^(enum|struct|class) ", parts[0]):
            return f"{indent}/** {escaped(parts[1])} */ {parts[0].lstrip()}"
        return f"{parts[0]}  ///< {escaped(parts[1])}"
    if match := STANDARD.match(line):
        return f"{indent}/** As in the standard library. */ {line.lstrip()}"
    if match := CONSTANT.match(line):
        return f"{line}  ///< {words(match[1])}"
    if in_type and (match := SEVERAL.match(line)):
        parts = match[2].split(", ")
        return indent + " ".join(f"/** {words(part.split(' ')[0])} */ {match[1]} {part};" for part in parts)
    if in_type and (match := FIELD.match(line)):
        return f"{line}  ///< {words(match[1])}"
    return line


def c(text):
    lines, out = text.split("\n"), []
    in_type, top, inside, group = False, True, False, False
    for at, line in enumerate(lines):
        if inside:
            inside = "*/" not in line
        elif re.match(r"^\s*/\*( |$)", line) and not line.startswith(("/* SPDX", "/* ----")):
            line = line.replace("/*", "/** \\file\n" if top else "/**", 1)
            top, inside = False, "*/" not in line
            end = next(i for i in range(at, len(lines)) if "*/" in lines[i])
            paragraph = "\n".join(lines[end + 1 :]).split("\n\n")[0]
            if line.startswith("/**") and "file" not in line and len(re.findall(r"^SCOOT_EXPORT ", paragraph, re.M)) > 1 and "{" not in paragraph:
                group = True
        elif match := re.match(r"^(.*\S)\s+/\*( .*)$", line):
            if match[1].endswith("{") and "*/" in line:
                line = f"/**{match[2]} {match[1]}"
                in_type = True
            elif not line.startswith("#"):
                line = f"{match[1]}  /**<{match[2]}"
                inside = "*/" not in line
        elif match := re.match(r"^#define (SCOOT_[A-Z_]+) [\"0-9U].*$", line):
            line += f"  /**< {words(match[1].lower())} */"
        elif re.match(r"^typedef (struct|enum) .*\{$", line):
            in_type = True
        elif line.startswith("}"):
            in_type = False
        elif in_type and (match := FIELD.match(line)):
            line += f"  /**< {words(match[1])} */"
        if group and not inside and line.startswith("SCOOT_EXPORT") and not lines[at - 1].startswith("SCOOT_EXPORT"):
            line = "/**@{*/ " + line
        elif group and not line.strip():
            line, group = "/**@}*/", False
        out.append(line)
    return out


def main(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    lines = cpp(text.split("\n")) if path.endswith(".hpp") else c(text)
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1])
