"""Files that other libraries themselves wrote, with what those libraries computed from them.

`tests/data/formats/make.py` and `make_flax_and_tensorflow.py` wrote the files and the expected features.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

DATA = Path(__file__).parent.parent / "data" / "formats"


@dataclass(frozen=True)
class Fixture:
    source: str
    tokenizer: str = "clip-tokenizer"
    activation: str | None = None


FIXTURES = {
    "openai-vit": Fixture("openai-vit.pt"),
    "openai-rn": Fixture("openai-rn.pt", activation="quick_gelu"),
    "open_clip": Fixture("open_clip"),
    "open_clip-custom": Fixture("open_clip-custom.pt", activation="gelu"),
    "open_clip-xlm-roberta": Fixture("open_clip-xlm-roberta", "unigram-tokenizer"),
    "open_clip-biomed": Fixture("open_clip-biomed", "chinese-tokenizer"),
    "open_clip-pe": Fixture("open_clip-pe"),
    "chinese-vit": Fixture("chinese-vit.pt", "chinese-tokenizer"),
    "chinese-rn": Fixture("chinese-rn.pt", "chinese-tokenizer"),
    "flax": Fixture("flax"),
    "tensorflow": Fixture("tensorflow"),
}


def converted(name: str, folder: Path) -> Path:
    """A fixture in the hub's layout."""
    from clipcli.foreign.convert import convert

    fixture = FIXTURES[name]
    convert(DATA / fixture.source, folder, activation=fixture.activation, tokenizer=DATA / fixture.tokenizer)
    return folder


def expected(name: str) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs and features; and the mask that Chinese-CLIP makes of its padding (CLIP's causal tower needs none)."""
    tensors = load_file(DATA / f"{name}.expected.safetensors")
    ids = tensors["input_ids"]
    return tensors, (ids != 0).long() if name.startswith("chinese") else torch.ones_like(ids)
