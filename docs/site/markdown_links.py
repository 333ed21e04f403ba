# SPDX-License-Identifier: MIT
"""What a link in one of our Markdown files leads to, and the anchors of a heading as GitHub makes them."""
import re
import unicodedata

FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.M | re.S)
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|<(?:a|img)\b[^>]*?(?:href|src)=\"([^\"]+)\"", re.S)
HEADING = re.compile(r"^#{1,6} +(.*?)(?: +#+)?$", re.M)


def without_code(text):
    """The text with code replaced by blanks, so that positions stay."""
    blank = lambda match: re.sub(r"[^\n]", " ", match[0])
    return CODE.sub(blank, FENCE.sub(blank, text))


def links_of(text):
    """(line number, target) of every link."""
    text = without_code(text)
    return [(text.count("\n", 0, match.start()) + 1, match[1] or match[2]) for match in LINK.finditer(text)]


def slug(heading):
    heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    heading = unicodedata.normalize("NFC", heading).strip().lower()
    return "".join(c for c in heading.replace(" ", "-") if c in "-_" or c.isalnum())


def anchors_of(text):
    found, seen = set(), {}
    for heading in HEADING.findall(FENCE.sub("", text)):
        one = slug(heading)
        count = seen.get(one, 0)
        seen[one] = count + 1
        found.add(f"{one}-{count}" if count else one)
    return found | set(re.findall(r"<a (?:name|id)=\"([^\"]+)\"", text))


def is_external(target):
    return re.match(r"[a-z][a-z0-9+.-]*:", target) is not None
