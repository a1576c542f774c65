"""What documents show of the program: the commands, code and files of the README (Markdown) and of guides (mdoc).

In a guide, a line before a display says what it is: `.\\" python`, `.\\" json`, `.\\" text` (shown, not run), or
`.\\" file NAME` (written before its section's commands run); without one it is `sh`. A table with the program's name at
the head of its right column has ours on the right: a command if it begins with `clip`, else Python. A row that begins
with a space goes on with the row above.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TITLES = re.compile(r"^\.S[hs] (.+)$")
_ESCAPES = {r"\(dq": '"', r"\(aq": "'", r"\&": "", r"\-": "-", r"\e": "\\"}
_ESCAPE = re.compile(r"\\\(dq|\\\(aq|\\&|\\-|\\e|\\\[u([0-9A-F]{4})\]")


@dataclass(frozen=True)
class Example:
    """One piece of a document that a reader may type or read as it stands."""

    heading: str
    language: str
    text: str


def examples(name: str, document: str) -> Iterator[Example]:
    """What a document shows, in its order; the suffix of its name says how it is written."""
    return _of_markdown(document) if name.endswith(".md") else _of_guide(document)


def _of_markdown(document: str) -> Iterator[Example]:
    heading = language = ""
    lines: list[str] = []
    for line in document.splitlines():
        if line.startswith("```"):
            if language:
                yield Example(heading, language, "\n".join(lines))
            language, lines = "" if language else line[3:], []
        elif language:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")


def _of_guide(document: str) -> Iterator[Example]:
    heading, language, end = "", "sh", ""
    lines: list[str] = []
    for line in document.splitlines():
        if line == end:
            yield from _of_display(heading, language, end, lines)
            language, end, lines = "sh", "", []
        elif end:
            lines.append(line)
        elif line.startswith(".Bd -literal"):
            end = ".Ed"
        elif line == ".TS":
            end = ".TE"
        elif line.startswith(".Dl "):
            assert '"' not in line, f"{line}: .Dl takes quotation marks away; use .Bd -literal"
            yield Example(heading, language, unescaped(line[4:]))
            language = "sh"
        elif said := re.match(r'^\.\\" (python|json|text|file .+)$', line):
            language = said[1]
        elif title := _TITLES.match(line):
            heading = unescaped(title[1])


def _of_display(heading: str, language: str, end: str, lines: list[str]) -> Iterator[Example]:
    text = unescaped("\n".join(lines))
    if end == ".Ed":
        yield Example(heading, language, text)
        return
    rows = [line.partition("\t")[::2] for line in text.splitlines() if "\t" in line]
    if rows and rows[0][1] == "clipcli":
        for ours in _joined(rows[1:]):
            yield Example(heading, "sh" if ours.startswith("clip ") else "python", ours)


def _joined(rows: list[tuple[str, str]]) -> list[str]:
    found: list[str] = []
    for theirs, ours in rows:
        if theirs.startswith(" "):
            found[-1] = " ".join(filter(None, (found[-1].removesuffix("\\").rstrip(), ours.strip())))
        else:
            found.append(ours)
    return found


def unescaped(text: str) -> str:
    """What a reader sees of mdoc's literal text."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPES[found[0]], text)
