"""How often a search finds the right image first: by its name, and by another image whose color is changed in words.

    python -m tests.bench.queries IMAGES [--from IMAGES] [--model demo]

Files are named after what they show: `red heart.png`. Every image is looked for by its name; and where two names differ
in a color only, the one is looked for by the image of the other, plus the one color, minus the other (`--from`: images
of the same names in another style). The query's own image does not count.
"""

import argparse
import tempfile
from pathlib import Path

import clipcli
from clipcli.answers.search import SearchOptions
from clipcli.api.libraries.query import Query, Term
from tests.demo_training.concepts import COLOURS


def first(library: clipcli.Library, *terms: Term, but: str = "", balanced: bool = True) -> str:
    hits = library.search(Query(terms, balanced=balanced), options=SearchOptions(2))
    return next(name for name in (Path(hit.path).stem for hit in hits) if name != but)


def swaps(names: set[str]) -> list[tuple[str, str, str, str]]:
    """Two names, and the words in which they differ."""
    found = []
    for name in sorted(names):
        for word in COLOURS.intersection(name.split()):
            for other in sorted(COLOURS - {word}):
                changed = " ".join(other if part == word else part for part in name.split())
                if changed in names:
                    found.append((name, changed, word, other))
    return found


def share(what: str, right: list[bool]) -> None:
    print(f"{what:44} {sum(right) / len(right):.1%} of {len(right)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--from", type=Path, dest="source")
    parser.add_argument("--model", default="demo")
    args = parser.parse_args()
    source = args.source or args.images
    names = {path.stem for path in args.images.iterdir()}
    with tempfile.TemporaryDirectory() as place:
        library = clipcli.Library.create(args.images, model=args.model, name=Path(place) / "library")
        library.update()
        share("a name, best image", [first(library, Term("text", name)) == name for name in sorted(names)])
        asked = [swap for swap in swaps(names) if (source / f"{swap[0]}.png").exists()]
        for balanced in (True, False):
            right = []
            for name, wanted, old, new in asked:
                terms = Term("image", source / f"{name}.png"), Term("text", new), Term("text", old, -1)
                right.append(first(library, *terms, but=name, balanced=balanced) == wanted)
            share(f"an image, another color, {'balanced' if balanced else 'raw weights'}", right)


if __name__ == "__main__":
    main()
