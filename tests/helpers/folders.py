"""Folders with the files that a test names."""

from pathlib import Path


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        if "/" not in name:
            (folder / name).write_bytes(content)
    return folder
