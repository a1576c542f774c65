"""Fetch the pinned npm packages into the work folder. Imports nothing of the program."""

import logging
import subprocess
import tarfile
from pathlib import Path

from tests.demo_training.vendors import EMOJIBASE, VENDORS

log = logging.getLogger(__name__)
KEPT = ("icons.json", "chars.json", "info.json", "package.json")


def package_folder(work: Path, package: str) -> Path:
    """Return where `package` ("name@version") lies once fetched."""
    return work / "packages" / package.removeprefix("@").replace("/", "-")


def fetch(work: Path) -> None:
    """Fetch every package that is not there yet.

    Raises:
        subprocess.CalledProcessError: npm is missing its registry, or the version is gone.
    """
    for package in (EMOJIBASE, *(vendor.package for vendor in VENDORS)):
        folder = package_folder(work, package)
        if not folder.exists():
            log.info("fetching %s", package)
            _unpack(package, folder)


def _unpack(package: str, folder: Path) -> None:
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", "--silent", package]
    name = subprocess.run(command, cwd=partial, check=True, capture_output=True, text=True).stdout.split()[-1]
    with tarfile.open(partial / name) as archive:
        for member in archive:
            path = Path(*Path(member.name).parts[1:])
            if member.isfile() and (str(path) in KEPT or path.parts[0] in ("en", "meta", "assets")):
                archive.extract(member, partial, filter="data")
    (partial / name).unlink()
    # npm lays everything below package/; the folder takes its place.
    (partial / "package").rename(folder)
    partial.rmdir()
