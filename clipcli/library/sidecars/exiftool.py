"""An argument file for ExifTool (`exiftool -@ FILE`): it adds our keywords to the images themselves.

Each keyword is removed and added, so that it is there once however often the file is run, and what others wrote stays.
Where a prefix makes keywords ours beyond doubt, those of our labels that no longer hold are removed too. The format is
that of ExifTool's option -@: one argument per line, and `-execute` after each image.
"""

import os
from collections.abc import Iterator

from clipcli.library.sidecars.keywords import Keywords

_TAGS = {"subject": "XMP-dc:Subject", "hierarchical_subject": "XMP-lr:HierarchicalSubject",
         "tags_list": "XMP-digiKam:TagsList"}  # fmt: skip


def arguments(image: str, keywords: Keywords, stale: Keywords) -> str:
    """The lines of one image; empty where there is nothing to do.

    Args:
        image: Its path.
        keywords: What it shall have.
        stale: What it shall not have, unless it shall have it.
    """
    lines: list[str] = []
    for field, tag in _TAGS.items():
        wanted = getattr(keywords, field)
        gone = [value for value in getattr(stale, field) if value not in wanted]
        lines += [f"-{tag}-={value}" for value in (*gone, *wanted)]
        lines += [f"-{tag}+={value}" for value in wanted]
    if not lines:
        return ""
    return "\n".join([*lines, *_name(image), "-execute", ""])


def _name(image: str) -> Iterator[str]:
    """A path as an argument: never an option, a comment, or two lines."""
    path = image if os.path.isabs(image) else os.path.join(os.curdir, image)
    if "\n" in path or "\r" in path:
        escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace('"', '\\"')
        yield f"#[CSTR]{escaped}"
    else:
        yield path
