"""Tiny random checkpoints of every family, written through `transformers` itself in the hub's layout.

Only what the files say matters to a parity test, so the weights are random, wide enough that attention, activations
and norms all move the result, and the vocabularies are made on the spot.
"""

import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = (
    "a photo of the cat dog bird car tree house red blue green small large two three cats dogs sitting on grass "
    "playing with toy in garden it's don't 2024 hello world naïve café résumé"
)
CHINESE = "一张照片的猫狗鸟汽车树花人红蓝绿黄大小两只三在草地上坐着这是皮卡丘杰尼龟妙蛙种子火龙"
SENTENCES = tuple(f"{a} {b} {CHINESE[i % 30 : i % 30 + 8]}" for i, a in enumerate(WORDS.split()) for b in WORDS.split())

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 32,
}
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
PROJECTION_DIM = 16


def write_clip(
    folder: Path, *, seed: int = 0, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> Path:
    """CLIP: byte-level BPE as `vocab.json` and `merges.txt`, the end-of-text token last, as published."""
    from transformers import CLIPConfig, CLIPModel

    vocabulary = write_clip_tokenizer(folder)
    size = len(vocabulary)
    special = {"vocab_size": size, "bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": 1}
    config = CLIPConfig(
        vision_config={**VISION, "projection_dim": PROJECTION_DIM, **(vision or {})},
        text_config={**TEXT, "projection_dim": PROJECTION_DIM, **special, **(text or {})},
        projection_dim=PROJECTION_DIM,
    )
    return _save(folder, CLIPModel, config, seed, square=False)


def write_chinese_clip(
    folder: Path, *, seed: int = 0, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> Path:
    """Chinese-CLIP: WordPiece as `vocab.txt`, square images."""
    from transformers import ChineseCLIPConfig, ChineseCLIPModel

    vocabulary = write_chinese_clip_tokenizer(folder)
    config = ChineseCLIPConfig(
        vision_config={**VISION, **(vision or {})},
        text_config={**TEXT, "vocab_size": len(vocabulary), "max_position_embeddings": 64, **(text or {})},
        projection_dim=PROJECTION_DIM,
    )
    return _save(folder, ChineseCLIPModel, config, seed, square=True)


def write_altclip(
    folder: Path, *, seed: int = 0, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> Path:
    """AltCLIP: SentencePiece Unigram as `tokenizer.json`, with the published normalisation table."""
    from transformers import AltCLIPConfig, AltCLIPModel

    size = write_altclip_tokenizer(folder)
    config = AltCLIPConfig(
        vision_config={**VISION, **(vision or {})},
        text_config={**TEXT, "project_dim": 24, "vocab_size": size, "max_position_embeddings": 90, **(text or {})},
        projection_dim=PROJECTION_DIM,
    )
    return _save(folder, AltCLIPModel, config, seed, square=False)


def write_metaclip_2(
    folder: Path, *, seed: int = 0, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> Path:
    """MetaCLIP 2: CLIP's towers over XLM-RoBERTa's tokenizer, whose end-of-text id is 2; square images."""
    from transformers import MetaClip2Config, MetaClip2Model

    special = {"vocab_size": write_altclip_tokenizer(folder), "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    config = MetaClip2Config(
        vision_config={**VISION, "projection_dim": PROJECTION_DIM, **(vision or {})},
        text_config={**TEXT, "projection_dim": PROJECTION_DIM, **special, **(text or {})},
        projection_dim=PROJECTION_DIM,
    )
    _save(folder, MetaClip2Model, config, seed, square=True)
    settings = preprocessor_config(config.vision_config.image_size, square=True)
    _write_json(folder / "preprocessor_config.json", {**settings, "image_processor_type": "CLIPImageProcessor"})
    return folder


def write_siglip(
    folder: Path, *, seed: int = 0, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> Path:
    """SigLIP: SentencePiece Unigram as `spiece.model` alone, images squashed by the bicubic filter."""
    return _save_siglip(folder, write_siglip_tokenizer(folder), 3, seed, vision, text)


def write_siglip2(
    folder: Path, *, seed: int = 0, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> Path:
    """SigLIP 2 of a fixed resolution: Gemma's BPE as `tokenizer.json`, images squashed by the bilinear filter."""
    return _save_siglip(folder, write_gemma_tokenizer(folder), 2, seed, vision, text)


def _save_siglip(
    folder: Path, vocab_size: int, resample: int, seed: int, vision: dict[str, Any] | None, text: dict[str, Any] | None
) -> Path:
    from transformers import SiglipConfig, SiglipModel

    sizes = {**TEXT, "vocab_size": vocab_size, "max_position_embeddings": 20, **(text or {})}
    config = SiglipConfig(vision_config={**VISION, **(vision or {})}, text_config=sizes)
    _save(folder, SiglipModel, config, seed, square=True)
    size = config.vision_config.image_size
    settings = {
        "image_processor_type": "SiglipImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": resample,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    _write_json(folder / "preprocessor_config.json", settings)
    return folder


def write_siglip2_naflex(
    folder: Path, *, seed: int = 0, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> Path:
    """SigLIP 2 NaFlex: images of any shape, in at most 24 patches of 8 pixels."""
    from transformers import Siglip2Config, Siglip2Model

    sizes = {key: value for key, value in VISION.items() if key != "image_size"}
    vocabulary = {"vocab_size": write_gemma_tokenizer(folder), "max_position_embeddings": 20}
    config = Siglip2Config(
        vision_config={**sizes, "num_patches": 16, **(vision or {})}, text_config={**TEXT, **vocabulary, **(text or {})}
    )
    _save(folder, Siglip2Model, config, seed, square=None)
    settings = {
        "image_processor_type": "Siglip2ImageProcessor",
        "do_convert_rgb": None,
        "do_resize": True,
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "max_num_patches": 24,
        "patch_size": config.vision_config.patch_size,
    }
    _write_json(folder / "preprocessor_config.json", settings)
    path = folder / "tokenizer_config.json"
    config_of_tokenizer = json.loads(path.read_text(encoding="utf-8"))
    _write_json(path, {**config_of_tokenizer, "tokenizer_class": "Siglip2Tokenizer"})
    return folder


WRITERS: dict[str, Callable[..., Path]] = {
    "clip": write_clip,
    "chinese_clip": write_chinese_clip,
    "altclip": write_altclip,
    "metaclip_2": write_metaclip_2,
    "siglip": write_siglip,
    "siglip2": write_siglip2,
    "siglip2_naflex": write_siglip2_naflex,
}
"""By the name of a family, or of a kind of checkpoint of one that differs from others of it."""


def write_clip_tokenizer(folder: Path, *, merge_count: int | None = None) -> dict[str, int]:
    """A small byte-level BPE: every byte, every byte at the end of a word, learned merges, the two special tokens.

    With `merge_count` as many merges as that: pairs of bytes follow what was learned.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=700, end_of_word_suffix="</w>", show_progress=False)
    trained.train_from_iterator([word for line in SENTENCES for word in line.split()], trainer)
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if merge_count is not None:
        merges = [*dict.fromkeys([*merges, *itertools.product(alphabet, repeat=2)])][:merge_count]
    tokens = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *(left + right for left, right in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>", **special},
    )
    return vocabulary


def write_chinese_clip_tokenizer(folder: Path) -> list[str]:
    """A small WordPiece: special tokens, single characters alone and inside words, whole words."""
    characters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789.,!?'-&;#，。！？" + CHINESE))
    tokens = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    tokens += [f"##{c}" for c in characters if c.isascii() and c.isalnum()]
    tokens += [
        word for word in dict.fromkeys(WORDS.lower().split()) if len(word) > 1 and word.isascii() and word.isalpha()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "BertTokenizer", "model_max_length": 512, "do_lower_case": True},
    )
    return tokens


def write_altclip_tokenizer(folder: Path) -> int:
    """A small Unigram, trained by SentencePiece and laid out by `transformers` with the fairseq ids.

    The SentencePiece model is left in `<folder>/spm/` for tests that read it alone.
    """
    from transformers import XLMRobertaTokenizer

    source = write_sentencepiece_model(folder / "spm")
    tokenizer = XLMRobertaTokenizer.from_pretrained(source, model_max_length=77)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def write_sentencepiece_model(folder: Path) -> Path:
    """`sentencepiece.bpe.model` alone, as XLM-RoBERTa ships it: <unk>, <s>, </s>, then the pieces."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=400,
        model_type="unigram",
        character_coverage=1.0,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 77})
    return folder


def write_siglip_tokenizer(folder: Path) -> int:
    """`spiece.model` with the ids of C4's English one: <pad>, </s>, <unk>, then the pieces."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line.lower() for line in SENTENCES),
        model_writer=model,
        vocab_size=400,
        model_type="unigram",
        character_coverage=1.0,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "SiglipTokenizer", "model_max_length": 64, "do_lower_case": True, **special},
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size()


def write_gemma_tokenizer(folder: Path) -> int:
    """A small BPE over whole texts, with Gemma's special tokens and a token for every byte, as `tokenizer.json`."""
    from tokenizers import Tokenizer, models, normalizers, processors, trainers
    from transformers import GemmaTokenizer

    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False)
    trained.train_from_iterator([line.lower() for line in SENTENCES], trainer)
    model = json.loads(trained.to_str())["model"]
    tokens = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *model["vocab"],
    ]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=merges, padding_side="right")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    _write_json(path, {**settings, "add_bos_token": False, "add_eos_token": True, "do_lower_case": True})
    return len(vocabulary)


def _save(folder: Path, model_class: Any, config: Any, seed: int, *, square: bool | None) -> Path:
    """Write a network of random weights, and CLIP's settings for images unless `square` is None."""
    import torch

    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
            elif parameter.ndim == 1:  # norms and biases start at 1 and 0, where a wrong mapping would not show
                parameter.add_(torch.randn_like(parameter) * 0.1)
            else:
                assert name == "logit_scale"
        if hasattr(model, "logit_bias"):
            model.logit_scale.fill_(2.5)
            model.logit_bias.fill_(-6.25)
        for module in model.modules():  # `transformers` 5 zeroes these rows of a Chinese-CLIP when it loads one
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
    model.save_pretrained(folder)
    if square is not None:
        settings = preprocessor_config(config.vision_config.image_size, square=square)
        _write_json(folder / "preprocessor_config.json", settings)
    return folder


def save_again(source: Path, target: Path) -> Path:
    """Write a checkpoint as today's `transformers` does: no `preprocessor_config.json`, one `tokenizer.json`."""
    from transformers import AutoModel, AutoProcessor

    AutoModel.from_pretrained(source).save_pretrained(target)
    AutoProcessor.from_pretrained(source).save_pretrained(target)
    return target


def preprocessor_config(size: int, *, square: bool) -> dict[str, Any]:
    """What the published checkpoints of these families say, at another size."""
    edges = {"height": size, "width": size}
    return {
        "image_processor_type": "ChineseCLIPImageProcessor" if square else "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": edges if square else {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": not square,
        "crop_size": edges,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
