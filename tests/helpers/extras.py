"""The command that each optional extra exists for, with what it reads written into a folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.helpers.checkpoints import write_altclip
from tests.helpers.image_files import variant

ROOT = Path(__file__).parents[2]
FORMATS = ROOT / "tests" / "data" / "formats"
SAMPLES = ROOT / "clipcli" / "demo" / "samples"


def _classify(image: Path, model: Path | str) -> list[str]:
    return ["classify", str(image), "-l", "cat,dog", "-m", str(model)]


def _heif(folder: Path) -> list[str]:
    image = folder / "photo.heic"
    image.write_bytes(variant("HEIF", "RGB", {}))
    return _classify(image, "demo")


def _sentencepiece(folder: Path) -> list[str]:
    """AltCLIP as it was first published: without tokenizer.json."""
    model = write_altclip(folder / "altclip")
    shutil.copy(model / "spm" / "sentencepiece.bpe.model", model)
    (model / "tokenizer.json").unlink()
    return _classify(SAMPLES / "cat.png", model)


def _flax_or_tensorflow_weights(name: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        model = shutil.copytree(FORMATS / name, folder / name)
        shutil.copytree(FORMATS / "clip-tokenizer", model, dirs_exist_ok=True)
        return _classify(SAMPLES / "cat.png", model)

    return make


def _parquet(folder: Path) -> list[str]:
    return ["embed", str(SAMPLES), "-m", "demo", "--output", str(folder / "features.parquet")]


def _scale(folder: Path) -> list[str]:
    from tests.helpers.shards import write_tars

    write_tars(folder, shards=2, images=4)
    return ["embed", f"{folder}/*.tar", "-m", "demo", "--output", f"{folder}/features/"]


def _index(folder: Path) -> list[str]:
    import clipcli

    clipcli.Library.create(SAMPLES, model="demo", name=folder / "library").update()
    return ["library", "index", str(folder / "library")]


def _serve(folder: Path) -> list[str]:
    return ["serve", "--port", "0", "-m", "demo"]


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "flax": _flax_or_tensorflow_weights("flax"),
    "heif": _heif,
    "index": _index,
    "parquet": _parquet,
    "scale": _scale,
    "sentencepiece": _sentencepiece,
    "serve": _serve,
    "tf": _flax_or_tensorflow_weights("tensorflow"),
}
"""Arguments of `clip`, by the extra that they need."""
