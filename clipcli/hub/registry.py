"""The published checkpoints by name, and what is known of them before a download. Pure data.

Sources of the columns: parameters are counted on the published configurations; ImageNet figures are only those that
were verified (named in the row; blank elsewhere); a license is that of the model card on the hub or, where it names
none, of the authors' repository. A commit is pinned where two independent public repositories name it (one of them
beside the row) and it is known to hold safetensors, config, preprocessing and tokenizer. Where a branch `main` has a
pickle only, that is the commit in which the hub's own converter, SFconvertbot, added the safetensors.
Languages are those that the authors state; of models trained on text in all the languages of the web, those of the
Crossmodal-3600 benchmark (arXiv:2205.12522), on which the authors measured them.
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
_SIGLIP_2 = "big_vision README_siglip2.md"
_META_CLIP = "MetaCLIP README.md"
_PERCEPTION = "perception_models apps/pe/README.md"
_XM3600 = (
    *("en", "ar", "bn", "cs", "da", "de", "el", "es", "fa", "fi", "fr", "he", "hi", "hr", "hu", "id", "it", "ja"),
    *("ko", "mi", "nl", "no", "pl", "pt", "qu", "ro", "ru", "sv", "sw", "te", "th", "tl", "tr", "uk", "vi", "zh"),
)
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
        license: SPDX identifier; None where unverified.
        imagenet_top1: Published zero-shot top-1 accuracy in percent; None where unverified.
        imagenet_source: Where that figure is from.
        revision: The pinned commit; None means the branch `main`.
        best_for: Why one would choose it, in a few words; None where others are better at everything.
    """

    alias: str
    hub_id: str
    family: str
    languages: tuple[str, ...]
    image_size: int | None
    parameters: int | None
    license: str | None
    imagenet_top1: float | None = None
    imagenet_source: str | None = None
    revision: str | None = None
    best_for: str | None = None

    @property
    def download_bytes(self) -> int | None:
        """Size of its weights, which all of them publish in float32; the tokenizer adds 1 to 22 MB."""
        return None if self.parameters is None else self.parameters * _FLOAT32_BYTES


def _openai(
    alias: str,
    name: str,
    size: int,
    parameters: int,
    top1: float,
    revision: str | None = None,
    best_for: str | None = None,
) -> Checkpoint:
    hub_id = f"openai/clip-vit-{name}"
    return Checkpoint(
        alias, hub_id, "clip", ("en",), size, parameters, "MIT", top1, _CLIP_BENCHMARK, revision, best_for=best_for
    )


def _laion(alias: str, name: str, parameters: int, top1: float, revision: str | None = None) -> Checkpoint:
    hub_id = f"laion/CLIP-ViT-{name}"
    return Checkpoint(alias, hub_id, "clip", ("en",), 224, parameters, "MIT", top1, _OPEN_CLIP, revision)


def _chinese(
    alias: str,
    name: str,
    size: int,
    parameters: int,
    top1: float,
    revision: str | None = None,
    best_for: str | None = None,
) -> Checkpoint:
    hub_id = f"OFA-Sys/chinese-clip-vit-{name}"
    return Checkpoint(
        alias,
        hub_id,
        "chinese_clip",
        ("zh",),
        size,
        parameters,
        "MIT",
        top1,
        _CHINESE_CLIP,
        revision,
        best_for=best_for,
    )


def _siglip(
    alias: str,
    name: str,
    size: int,
    parameters: int,
    top1: float,
    *,
    languages: tuple[str, ...] = ("en",),
    revision: str | None = None,
    best_for: str | None = None,
) -> Checkpoint:
    source = _SIGLIP_2 if name.startswith("siglip2") else _OPEN_CLIP
    hub_id, license = f"google/{name}", "Apache-2.0"
    return Checkpoint(
        alias, hub_id, "siglip", languages, size, parameters, license, top1, source, revision, best_for=best_for
    )


def _siglip2(
    alias: str, name: str, size: int, parameters: int, top1: float, best_for: str | None = None, **more: str
) -> Checkpoint:
    return _siglip(
        alias,
        f"siglip2-{name}",
        size,
        parameters,
        top1,
        languages=_XM3600,
        best_for=best_for,
        revision=more.get("revision"),
    )


def _pe_core(alias: str, name: str, size: int, parameters: int, top1: float, best_for: str | None = None) -> Checkpoint:
    hub_id, license = f"timm/PE-Core-{name}", "Apache-2.0"
    return Checkpoint(
        alias, hub_id, "pe_core", ("en",), size, parameters, license, top1, _PERCEPTION, best_for=best_for
    )


CHECKPOINTS = (
    # turhancan97/krasnal-id AGENTS.md; petrukha-ivan/mlx-swift-vision ModelSelectionView.swift. refs/pr/66.
    _openai(
        "vit-b32",
        "base-patch32",
        224,
        151_277_313,
        63.33,
        "c237dc49a33fc61debc9276459120b7eac67e7ef",
        "known everywhere; the default",
    ),
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
    Checkpoint(
        "datacomp-b32",
        "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
        "clip",
        ("en",),
        256,
        151_288_833,
        "MIT",
        72.8,
        _OPEN_CLIP,
        best_for="small and quick",
    ),
    Checkpoint(
        "datacomp-b16",
        "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
        "clip",
        ("en",),
        224,
        149_620_737,
        "MIT",
        73.5,
        _OPEN_CLIP,
    ),
    Checkpoint(
        "bioclip", "imageomics/bioclip", "clip", ("en",), 224, 149_620_737, "MIT", best_for="plants, animals, fungi"
    ),
    Checkpoint(
        "biomedclip",
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "biomed_clip",
        ("en",),
        224,
        195_902_721,
        "MIT",
        best_for="medicine: scans, tissue, figures",
    ),
    # eureka6/Pixhelf README.md.
    _chinese(
        "chinese-b16", "base-patch16", 224, 188_262_913, 48.3, "f4a64596bbcf9a2a94591b74b9dc39b2e4e77e3e", "Chinese"
    ),
    _chinese("chinese-l14", "large-patch14", 224, 406_233_089, 54.7),
    _chinese("chinese-l14-336", "large-patch14-336px", 336, 406_560_769, 56.7),
    _chinese("chinese-h14", "huge-patch14", 224, 957_598_209, 59.6),
    Checkpoint("altclip", "BAAI/AltCLIP", "altclip", ("en", "zh"), 224, 864_186_113, "CreativeML-OpenRAIL-M"),
    Checkpoint("altclip-m9", "BAAI/AltCLIP-m9", "altclip", _NINE, 224, 864_186_113, "CreativeML-OpenRAIL-M"),
    Checkpoint("altclip-m18", "BAAI/AltCLIP-m18", "altclip", _EIGHTEEN, 224, None, None),
    Checkpoint(
        "metaclip2-h14",
        "facebook/metaclip-2-worldwide-huge-quickgelu",
        "metaclip_2",
        _XM3600,
        224,
        1_858_783_745,
        "CC-BY-NC-4.0",
        81.3,
        _META_CLIP,
        best_for="many languages, non-commercial",
    ),
    Checkpoint(
        "xlm-b32",
        "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
        "xlm_roberta_clip",
        _XM3600,
        224,
        366_121_473,
        "MIT",
        62.4,
        _OPEN_CLIP,
    ),
    Checkpoint(
        "xlm-h14",
        "laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k",
        "xlm_roberta_clip",
        _XM3600,
        224,
        1_193_014_785,
        "MIT",
        77.0,
        _OPEN_CLIP,
        best_for="languages that SigLIP 2 is weak in",
    ),
    _pe_core("pe-s16", "S-16-384", 384, 87_188_225, 72.7),
    _pe_core("pe-b16", "B-16", 224, 447_660_545, 78.4),
    _pe_core("pe-l14", "L-14-336", 336, 671_138_817, 83.5, "English, accurate"),
    _pe_core("pe-g14", "bigG-14-448", 448, 2_419_267_841, 85.4),
    _siglip("siglip-b16", "siglip-base-patch16-224", 224, 203_155_970, 76.0),
    _siglip("siglip-b16-i18n", "siglip-base-patch16-256-multilingual", 256, 370_626_050, 75.1, languages=_XM3600),
    _siglip("siglip-l16", "siglip-large-patch16-256", 256, 652_150_786, 80.5),
    _siglip("siglip-so400m", "siglip-so400m-patch14-384", 384, 877_960_498, 83.1),
    _siglip2("siglip2-b32", "base-patch32-256", 256, 376_856_066, 74.0, "many languages, quick"),
    _siglip2(
        "siglip2-b16",
        "base-patch16-224",
        224,
        375_187_970,
        78.2,
        "many languages, accurate",
        revision="75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
    ),
    _siglip2("siglip2-b16-512", "base-patch16-512", 512, 375_823_874, 81.2, "small things in large images"),
    _siglip2("siglip2-l16", "large-patch16-256", 256, 881_526_786, 82.5),
    _siglip2("siglip2-so400m", "so400m-patch14-384", 384, 1_136_008_498, 84.1, "many languages, very accurate"),
    _siglip2("siglip2-so-512", "so400m-patch16-512", 512, 1_136_555_698, 84.3),
    _siglip2("siglip2-g16-384", "giant-opt-patch16-384", 384, 1_871_885_426, 85.0, "best accuracy"),
    Checkpoint(
        "naflex-b16",
        "google/siglip2-base-patch16-naflex",
        "siglip2",
        _XM3600,
        None,
        375_234_050,
        "Apache-2.0",
        78.5,
        _SIGLIP_2,
        best_for="panoramas, documents",
    ),
    Checkpoint(
        "naflex-so400m",
        "google/siglip2-so400m-patch16-naflex",
        "siglip2",
        _XM3600,
        None,
        1_135_670_962,
        "Apache-2.0",
        83.5,
        _SIGLIP_2,
    ),
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
