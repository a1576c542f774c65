"""`python -m tests.demo_training.samples`: render the sample pictures from a vendor the model never saw."""

import argparse
from pathlib import Path

from tests.demo_training.concepts import load_concepts
from tests.demo_training.pictures import drawings_of, on_canvas
from tests.demo_training.vendors import VENDORS

FOLDER = Path(__file__).parents[2] / "clipcli" / "demo" / "samples"
# Chosen before the model was evaluated: file name (the concept's), width, fill, background.
SAMPLES = (
    ("airplane.png", 512, 0.8, "lightskyblue"),
    ("apple.jpg", 256, 0.7, "white"),
    ("bicycle.webp", 640, 0.9, "white"),
    ("car.jpg", 1024, 0.6, "lightgrey"),
    ("cat.png", 256, 0.85, "white"),
    ("dog.jpg", 512, 0.75, "beige"),
    ("elephant.webp", 384, 0.8, "palegreen"),
    ("guitar.png", 320, 0.8, "white"),
    ("house.jpg", 800, 0.7, "white"),
    ("pizza.webp", 1024, 0.85, "white"),
    ("rose.png", 128, 0.9, "white"),
    ("umbrella.jpg", 450, 0.65, "lavender"),
)


def main() -> None:
    """Render all samples into the demo folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo_training.samples", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path.home() / ".cache/clipcli-train-demo", help="where the packages lie"
    )
    work = parser.parse_args().work
    (twemoji,) = (vendor for vendor in VENDORS if vendor.name == "twemoji")
    concepts = load_concepts(work)
    wanted = {Path(name).stem for name, *_ in SAMPLES}
    shown = [concept for concept in concepts if concept.name in wanted]
    drawings = {shown[index].name: drawing for index, drawing in drawings_of(work, twemoji, shown, 1024).items()}
    FOLDER.mkdir(exist_ok=True)
    for name, size_px, fill, colour in SAMPLES:
        on_canvas([drawings[Path(name).stem]], fill, size_px, colour).save(FOLDER / name, quality=85)


if __name__ == "__main__":
    main()
