"""Manifests that somebody else wrote, in a sorted folder that was handed over, undone by whoever got it.

Whatever a manifest says: nothing outside of the folder changes or goes, nothing but images and sidecars comes out of
it, and no content is lost.
"""

import json
import os
import random
from pathlib import Path

from clipcli.errors import ClipError
from clipcli.images.find import IMAGE_EXTENSIONS
from clipcli.library.sorting.undo import undo
from tests.helpers.snapshots import snapshot

PLACES = [
    "{given}/dog/a.jpg", "{given}/dog/b.jpg", "{given}/mine.jpg", "{given}/notes.txt", "{given}/link.jpg",
    "{given}/out/mine.jpg", "{given}/out/secret.txt", "{given}/../photos/mine.jpg", "{given}/dog/../dog/a.jpg",
    "{given}/folder.jpg", "{given}", "{given}/", "{given}/clip-manifest.jsonl", "{home}/photos/mine.jpg",
    "{home}/photos/secret.txt", "{home}/twin.jpg", "{home}/also/dog/a.jpg", "{home}/new.jpg", "{home}/.profile",
    "{home}/new/deep/x.jpg", "photos/mine.jpg", "", "/", "{given}/dog/A.JPG", "{given}/gone.jpg", "{given}/dog/a.xmp",
    "{given}/hard.jpg", "{home}/" + "n" * 300 + ".jpg", "{given}/pipe.jpg",
]  # fmt: skip
# What a sorting may really have done.
SOUND = [
    ("move", "{home}/photos/a.jpg", "{given}/dog/a.jpg"),
    ("move", "{home}/old/b.jpg", "{given}/dog/b.jpg"),
    ("move", "{home}/photos/a.xmp", "{given}/dog/a.xmp"),
    ("copy", "{home}/photos/mine.jpg", "{given}/mine.jpg"),
    ("link", "{home}/photos/secret.txt", "{given}/link.jpg"),
]
WORDS = ["/\0.jpg", "way", "source", "target", "move", "copy", "link", "burn", None, 7, [], {}, True, "x" * 5000]


def trial(rng: random.Random, folder: Path) -> str:
    """One folder, one manifest, undone twice."""
    given = _build(folder)
    lines = [json.dumps({"schema": "clipcli.sorted/1"})]
    lines += [_line(rng, folder, given) for _ in range(rng.randint(1, 8))]
    (given / "clip-manifest.jsonl").write_text("\n".join(lines) + rng.choice(["\n", "\n", '\n{"way": "mo']))
    before = snapshot(folder)
    outcome = "refused whole"
    for _ in range(2):
        try:
            events = list(undo(str(rng.choice([given, given / "clip-manifest.jsonl"]))))
        except ClipError:
            continue
        outcome = "taken back in part" if any(type(event).__name__ == "TakenBack" for event in events) else "left alone"
    _check(before, snapshot(folder))
    return outcome


def _build(home: Path) -> Path:
    given, photos = home / "given", home / "photos"
    for name in ("given/dog", "given/folder.jpg", "photos"):
        (home / name).mkdir(parents=True)
    contents = {"photos/mine.jpg": "mine", "photos/secret.txt": "secret", "given/notes.txt": "notes"}
    contents |= {"photos/.a.jpg.x1y2.clip-tmp": "not a copy", "photos/.mine.jpg.x1y2.clip-tmp": "mi, not a copy"}
    contents |= {"given/mine.jpg": "mine", "given/dog/a.jpg": "a", "given/dog/b.jpg": "b", "given/dog/a.xmp": "x"}
    for name, text in contents.items():
        (home / name).write_text(text)
    (given / "link.jpg").symlink_to(photos / "secret.txt")
    (given / "out").symlink_to(photos)
    (home / "twin.jpg").symlink_to(given / "dog" / "a.jpg")
    (home / "also").symlink_to(given)
    os.link(given / "dog" / "b.jpg", given / "hard.jpg")
    return given


def _line(rng: random.Random, home: Path, given: Path) -> str:
    if rng.random() < 0.05:
        return rng.choice(["[]", "{", "[" * 50_000, "null", '"x"', "\x00", "{}"])
    row: dict[str, object] = {
        "way": rng.choice(["move", "copy", "link"]),
        "source": rng.choice(PLACES).format(home=home, given=given),
        "target": rng.choice(PLACES).format(home=home, given=given),
    }
    if rng.random() < 0.2:
        row = {key: text.format(home=home, given=given) for key, text in zip(row, rng.choice(SOUND), strict=True)}
    if rng.random() < 0.03:
        row[rng.choice(["way", "source", "target"])] = rng.choice(WORDS)
    return json.dumps(row)


def _check(before: dict[str, str], after: dict[str, str]) -> None:
    inside = "given/"
    for name, content in before.items():
        if not (name + "/").startswith(inside):
            assert after.get(name) == content, f"{name} outside of the folder was changed"
    for name, content in after.items():
        if name not in before and content != "folder":
            assert Path(name).suffix.lower() in IMAGE_EXTENSIONS | {".xmp"}, f"{name} was planted"
            assert not content.startswith("link to"), f"the link {name} was planted"
    kept = set(after.values())
    for name, content in before.items():
        if content not in kept and content != "folder" and not content.startswith("link to"):
            assert name.startswith("given/clip-manifest"), f"the content of {name} is lost"
