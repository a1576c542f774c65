"""Programs that the recipes call and that not every machine has: `stand_ins.py NAME ARGUMENTS...`.

jq is the real one, as a library. The others check that they are called as the recipes call them, and do what a test can
have of them: no network, and no waiting for ever.
"""

import json
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

PHOTOS = Path.home() / "photos"
SUBJECT = ".//{http://purl.org/dc/elements/1.1/}subject//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


def jq(arguments: list[str]) -> None:
    import jq as library

    option, program = arguments
    assert option in ("-r", "-j"), option
    for text in library.compile(program).input_text(sys.stdin.read()):
        written = text if isinstance(text, str) else json.dumps(text)
        sys.stdout.write(written if option == "-j" else f"{written}\n")


def curl(arguments: list[str]) -> None:
    """Fetch an image: fails on errors of the server (-f), without a progress meter (-s)."""
    assert arguments == ["-sf", "https://example.org/img.jpg"], arguments
    sys.stdout.buffer.write((PHOTOS / "car.jpg").read_bytes())


def inotifywait(arguments: list[str]) -> None:
    """Say which files were written or moved into a folder: two, and then the folder is gone."""
    *options, folder = arguments
    assert options == ["-m", "-q", "-e", "close_write,moved_to", "--format", "%w%f"], options
    for name in ("car.jpg", "dog.jpg"):
        shutil.copy(PHOTOS / name, folder)
        sys.stdout.write(f"{folder}/{name}\n")
        sys.stdout.flush()


def exiftool(arguments: list[str]) -> None:
    """A table (-T) of names and keywords of all sidecars under a folder."""
    *options, folder = arguments
    assert options == ["-q", "-r", "-ext", "xmp", "-T", "-FileName", "-Subject"], options
    for path in Path(folder).rglob("*.xmp"):
        keywords = ", ".join(item.text or "" for item in ET.parse(path).iterfind(SUBJECT))
        sys.stdout.write(f"{path.name}\t{keywords}\n")


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, so that `import jq` and the like find nothing here
    {"jq": jq, "curl": curl, "inotifywait": inotifywait, "exiftool": exiftool}[sys.argv[1]](sys.argv[2:])
