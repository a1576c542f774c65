"""What lies below a folder, to be compared before and after."""

import os
from pathlib import Path


def snapshot(folder: Path) -> dict[str, str]:
    """Every file, link and folder below a folder, with its content."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(root) / name
            if path.is_symlink():
                found[str(path.relative_to(folder))] = f"link to {os.readlink(path)}"
            elif path.is_dir():
                found[str(path.relative_to(folder))] = "folder"
            else:
                found[str(path.relative_to(folder))] = path.read_bytes().decode("utf-8", "backslashreplace")
    return found
