"""The published checkpoints by name, and what is known of them before a download. Pure data.

Sources of the columns: parameters are counted on the published configurations; ImageNet figures are only those that
were verified (named in the row; blank elsewhere); a licence is that of the model card on the hub or, where it names
none, of the authors' repository. A commit is pinned where two independent public repositories name it (one of them
beside the row) and it is known to hold safetensors, config, preprocessing and tokenizer. Where a branch `main` has a
pickle only, that is the commit in which the hub's own converter, SFconvertbot, added the safetensors. LAION's
DataComp ViT-B are not here: their repositories hold open_clip's layout only.
"""

from dataclasses import dataclass
from difflib import get_close_matches

DEMO = "demo"
HUB_PREFIX = "hf-hub:"
"""How open_clip marks a hub id; it may stand before one here, too."""
DEFAULT_MODEL = "openai/clip-vit-base-patch32"

DEFAULT_REVISION = "main"

_FLOAT32_BYTES = 4
_CLIP_BENCHMARK = "CLIP_benchmark benchmark.csv"
_OPEN_CLIP = "open_clip openclip_results.csv"
_CHINESE_CLIP = "Chinese-CLIP Results.md, Chinese label names"
_NINE = ("en", "zh", "es", "fr", "ru", "ja", "ko", "ar", "it")
_EIGHTEEN = (*_NINE, "th", "hi", "uk", "tr", "vi", "pl", "nl", "pt", "de")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One published checkpoint.

    Attributes:
        alias: Short name.
        hub_id: Name on the hub.
        family: A key of `checkpoints.families.FAMILIES`.
        languages: ISO 639-1 codes of the languages its text tower was trained for.
        image_size: Height and width in pixels that the image tower takes; None where unverified.
        parameters: Of both towers together; None where the published configuration is unverified.
        licence: SPDX identifier; None where unverified.
        imagenet_top1: Published zero-shot top-1 accuracy in per cent; None where unverified.
        imagenet_source: Where that figure is from.
        revision: The pinned commit; None means the branch `main`.
    """

    alias: str
    hub_id: str
    family: str
    languages: tuple[str, ...]
    image_size: int | None
    parameters: int | None
    licence: str | None
    imagenet_top1: float | None = None
    imagenet_source: str | None = None
    revision: str | None = None

    @property
    def download_bytes(self) -> int | None:
        """Size of its weights, which all of them publish in float32; the tokenizer adds 1 to 22 MB."""
        return None if self.parameters is None else self.parameters * _FLOAT32_BYTES


def _openai(alias: str, name: str, size: int, parameters: int, top1: float, revision: str | None = None) -> Checkpoint:
    hub_id = f"openai/clip-vit-{name}"
    return Checkpoint(alias, hub_id, "clip", ("en",), size, parameters, "MIT", top1, _CLIP_BENCHMARK, revision)


def _laion(alias: str, name: str, parameters: int, top1: float, revision: str | None = None) -> Checkpoint:
    hub_id = f"laion/CLIP-ViT-{name}"
    return Checkpoint(alias, hub_id, "clip", ("en",), 224, parameters, "MIT", top1, _OPEN_CLIP, revision)


def _chinese(alias: str, name: str, size: int, parameters: int, top1: float, revision: str | None = None) -> Checkpoint:
    hub_id = f"OFA-Sys/chinese-clip-vit-{name}"
    return Checkpoint(alias, hub_id, "chinese_clip", ("zh",), size, parameters, "MIT", top1, _CHINESE_CLIP, revision)


CHECKPOINTS = (
    # turhancan97/krasnal-id AGENTS.md; petrukha-ivan/mlx-swift-vision ModelSelectionView.swift. refs/pr/66.
    _openai("vit-b32", "base-patch32", 224, 151_277_313, 63.33, "c237dc49a33fc61debc9276459120b7eac67e7ef"),
    # Tiensinh98/kat-vad core/constants.py; petrukha-ivan/mlx-swift-vision ModelSelectionView.swift. refs/pr/17.
    _openai("vit-b16", "base-patch16", 224, 149_620_737, 68.35, "5ef227a78de3f75873f373246dac80def63b0003"),
    # embeddings-benchmark/mteb mteb/models/clip_models.py. main.
    _openai("vit-l14", "large-patch14", 224, 427_616_513, 75.49, "32bd64288804d66eefd0ccbe215aa642df71cc41"),
    _openai("vit-l14-336", "large-patch14-336", 336, 427_944_193, 76.55),
    # kurtvalcorza/pixart-sigma-generation-pipeline weights/clip-vit-b-32-laion2b/dimer-base-manifest.json. main.
    _laion("laion-b32", "B-32-laion2B-s34B-b79K", 151_277_313, 66.56, "1a25a446712ba5ee05982a381eed697ef9b435cf"),
    _laion("laion-b16", "B-16-laion2B-s34B-b88K", 149_620_737, 70.23),
    _laion("laion-l14", "L-14-laion2B-s32B-b82K", 427_616_513, 75.25),
    # mudler/vllm.cpp .agents/specs/ltx25-prompt-adherence.md. main.
    _laion("laion-h14", "H-14-laion2B-s32B-b79K", 986_109_441, 77.96, "1c2b8495b28150b8a4922ee1c8edee224c284c0c"),
    _laion("laion-g14", "g-14-laion2B-s12B-b42K", 1_366_678_273, 76.63),
    _laion("laion-bigg14", "bigG-14-laion2B-39B-b160k", 2_539_567_105, 80.09),
    _laion("datacomp-l14", "L-14-DataComp.XL-s13B-b90K", 427_616_513, 79.21),
    # eureka6/Pixhelf README.md.
    _chinese("chinese-b16", "base-patch16", 224, 188_262_913, 48.3, "f4a64596bbcf9a2a94591b74b9dc39b2e4e77e3e"),
    _chinese("chinese-l14", "large-patch14", 224, 406_233_089, 54.7),
    _chinese("chinese-l14-336", "large-patch14-336px", 336, 406_560_769, 56.7),
    _chinese("chinese-h14", "huge-patch14", 224, 957_598_209, 59.6),
    Checkpoint("altclip", "BAAI/AltCLIP", "altclip", ("en", "zh"), 224, 864_186_113, "CreativeML-OpenRAIL-M"),
    Checkpoint("altclip-m9", "BAAI/AltCLIP-m9", "altclip", _NINE, 224, 864_186_113, "CreativeML-OpenRAIL-M"),
    Checkpoint("altclip-m18", "BAAI/AltCLIP-m18", "altclip", _EIGHTEEN, 224, None, None),
)


def find_checkpoint(name: str) -> Checkpoint | None:
    """The registry row of an alias or a hub id, in any case of letters, or None."""
    folded = name.removeprefix(HUB_PREFIX).casefold()
    return next((row for row in CHECKPOINTS if folded in (row.alias, row.hub_id.casefold())), None)


def usual_revisions(hub_id: str) -> tuple[str, ...]:
    """What is meant without a revision, best first: the pinned commit, then `main`, which other programs fetch."""
    row = find_checkpoint(hub_id)
    return (row.revision, DEFAULT_REVISION) if row is not None and row.revision else (DEFAULT_REVISION,)


def checkpoints_for(language: str) -> tuple[Checkpoint, ...]:
    """The checkpoints whose text tower knows a language (ISO 639-1 code), smallest of each family first."""
    return tuple(row for row in CHECKPOINTS if language in row.languages)


def nearest_names(name: str) -> list[str]:
    """Aliases and hub ids spelled most like a name that is neither."""
    known = {row.alias.casefold(): row.alias for row in CHECKPOINTS}
    known |= {row.hub_id.casefold(): row.hub_id for row in CHECKPOINTS} | {DEMO: DEMO}
    return [known[match] for match in get_close_matches(name.casefold(), known, n=3, cutoff=0.6)]
