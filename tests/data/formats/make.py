"""Writes the fixtures beside it with the libraries whose files clipcli reads: openai-clip, open_clip, cn_clip.

Run it where those three are installed (openai-clip 1.0.1, open_clip_torch 3.3.0 with timm 1.0.31, and cn_clip 1.6.0
wrote what is committed): `python make.py`. torchvision is not needed: what the networks use of it is nothing, so it is
replaced by an empty stand-in where it is missing. Each `*.expected.safetensors` holds inputs and what the library
itself makes of them in float32.
"""

import functools
import gzip
import importlib
import importlib.util
import json
import string
import sys
import types
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

HERE = Path(__file__).parent
VOCABULARY = 514  # every byte, every byte at the end of a word, two special tokens
CHINESE = "猫狗鸟车树花人红蓝绿黄大小"
IMAGE, CONTEXT = 32, 16


# What ftfy and `html.unescape` change, and what they leave; the package's ids need ftfy 6.3 installed.
HARD_TEXTS = [
    "a dog’s “bone”", "it`s", "cafÃ©", "naïve", "naïve", "fish &amp; chips", "&lt;b&gt;cat&lt;/b&gt;", "a &amp;amp; b",
    "<p>cat &amp; dog</p>", "ﬁsh and ﬂowers", "ＣＡＴ　ｄｏｇ", "cat\u00a0dog", " \t cat \n dog\r\n", "cat\u2028dog",
    "â\u20ac\u201ccat", "It\u2019s 5\u00b0 \u2014 cold", "\u0130stanbul", "ΟΔΟΣ ΣΟΦΟΣ", "STRASSE straße",
    "J\u030cA", "猫 & 犬",
    "cat\u200bdog", "\u001b[31mred cat\u001b[0m", "cat\u0007", "100% cat", "&copy; cat", "&notanentity; dog",
    "&eacute;t&eacute;", "&#100;og", "a&nbsp;cat", "schÃ¶n", "\ufeffcat", "😀\ufe0f dog", "½ cat", "Ǆ ǅ",
    "", " ", "don't they're",
]  # fmt: skip


def main() -> None:
    """Write every fixture."""
    stand_in_for_torchvision()
    write_tokenizers()
    write_openai_bpe()
    write_openai()
    write_open_clip()
    write_open_clip_bert()
    write_open_clip_pe()
    write_chinese_clip()


def write_openai() -> None:
    """OpenAI's ViT as a TorchScript archive in float16, its ResNet as a plain state dict."""
    clip = load_openai_clip()
    text = (CONTEXT, VOCABULARY, 64, 1, 1)
    vit = randomised(clip.CLIP(16, IMAGE, 1, 128, 16, *text))
    for name, value in (("input_resolution", IMAGE), ("context_length", CONTEXT), ("vocab_size", VOCABULARY)):
        vit.__dict__.pop(name, None)
        vit.register_buffer(name, torch.tensor(value))
    pixels, ids = inputs(IMAGE)
    expect("openai-vit", vit, pixels, ids)
    clip.convert_weights(vit)
    half = torch.randn(1, 3, IMAGE, IMAGE)
    methods = {"forward": (half, ids[:1]), "encode_image": half, "encode_text": ids[:1]}
    torch.jit.trace_module(vit, methods, check_trace=False).save(str(HERE / "openai-vit.pt"))

    resnet = randomised(clip.CLIP(16, 64, (1, 2, 1, 1), 4, None, *text))
    pixels, ids = inputs(64)
    expect("openai-rn", resnet, pixels, ids)
    clip.convert_weights(resnet)
    torch.save(resnet.state_dict(), HERE / "openai-rn.pt")


def write_open_clip() -> None:
    """open_clip's two layouts, with exact GELU and heads of 16: a folder for the hub, and a checkpoint of training."""
    open_clip = importlib.import_module("open_clip")
    vision = {"image_size": IMAGE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "mlp_ratio": 3.0}
    text = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    folder = HERE / "open_clip"
    folder.mkdir(exist_ok=True)
    model = randomised(open_clip.CLIP(**config))
    expect("open_clip", model, *inputs(IMAGE))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.25, 0.5], "interpolation": "bicubic", "resize_mode": "squash"}
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})

    plain = {"width": 64, "layers": 1}  # heads of 64, as where no config says otherwise
    towers = {"vision_cfg": {**vision, **plain, "head_width": 64}, "text_cfg": {**text, **plain, "heads": 1}}
    custom = randomised(open_clip.CustomTextCLIP(16, **towers))
    expect("open_clip-custom", custom, *inputs(IMAGE))
    state = {f"module.{name}": value.half() for name, value in custom.state_dict().items()}
    torch.save({"epoch": 3, "name": "a run", "state_dict": state}, HERE / "open_clip-custom.pt")


def write_open_clip_bert() -> None:
    """open_clip's towers of other libraries: XLM-RoBERTa of the hub beside its own ViT, BERT beside timm's."""
    hub = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 96}
    hub_roberta = {"layer_norm_eps": 1e-5, "type_vocab_size": 1}  # as published; the class has other defaults
    xlm_roberta = {**hub, **hub_roberta, "vocab_size": len(unigram_pieces()), "max_position_embeddings": 80}
    bert = {**hub, "vocab_size": len(chinese_vocabulary()), "max_position_embeddings": 40}
    own = {"image_size": IMAGE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
    timms = {"image_size": IMAGE, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "", "timm_proj": "linear"}
    mean = {"hf_model_name": "xlm-roberta-base", "hf_tokenizer_name": "xlm-roberta-base"}
    biomed_bert = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
    first = {"hf_model_name": biomed_bert, "hf_tokenizer_name": biomed_bert, "hf_proj_type": "mlp"}
    write_one_of_the_hub("open_clip-xlm-roberta", xlm_roberta, own, {**mean, "hf_pooler_type": "mean_pooler"})
    first |= {"hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 24}
    write_one_of_the_hub("open_clip-biomed", bert, timms, first)


def write_one_of_the_hub(name: str, trunk: dict[str, Any], vision: dict[str, Any], text: dict[str, Any]) -> None:
    """A folder as open_clip publishes it, its text tower of these sizes; padding in the middle of a text, too."""
    import timm
    import transformers

    open_clip = importlib.import_module("open_clip")
    config_class = transformers.XLMRobertaConfig if "xlm" in name else transformers.BertConfig
    sized = config_class(**trunk)
    tiny = functools.partial(timm.create_model, img_size=IMAGE, embed_dim=64, depth=1, num_heads=1)
    with (
        mock.patch("timm.create_model", tiny),
        mock.patch.object(transformers.AutoConfig, "from_pretrained", return_value=sized),
    ):
        model = open_clip.CustomTextCLIP(16, vision, {**text, "hf_model_pretrained": False})
    model = randomised(model)
    pad = sized.pad_token_id
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, trunk["vocab_size"], (4, 12), generator=generator)
    ids[:, 0], ids[1, 7:], ids[2, 3:], ids[3, 4:6], ids[3, 10:] = 0 if "xlm" in name else 2, pad, pad, pad, pad
    pixels = inputs(IMAGE)[0]
    with torch.no_grad():
        output = model.text.transformer(ids, attention_mask=(ids != pad).long())
        states = {"text_states": output.last_hidden_state, "text_pooled": model.text.pooler(output, ids != pad)}
        if "timm_model_name" in vision:
            states["image_states"] = model.visual.trunk.forward_features(pixels)
    expect(name, model, pixels, ids, **states)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    state = {key: value.half() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    preprocess = {"mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": "shortest"}
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})


def write_open_clip_pe() -> None:
    """PE-core: timm's ViT with rotary positions and a pool, and CLIP's text tower; and one without a class token."""
    open_clip, timm = importlib.import_module("open_clip"), importlib.import_module("timm")
    vision = {"timm_model_name": "vit_pe_core_tiny_patch16_384", "image_size": IMAGE, "timm_pool": "map"}
    vision["timm_proj"] = None
    text = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 32, "heads": 2, "layers": 1}
    sizes = {"img_size": IMAGE, "patch_size": 8, "embed_dim": 128, "num_heads": 2, "depth": 2, "mlp_ratio": 0.5}
    tiny = functools.partial(timm.create_model, **sizes, ref_feat_shape=(4, 4))
    bare = functools.partial(tiny, class_token=False, rope_grid_offset=0.0)  # as the largest one
    with mock.patch("timm.create_model", tiny):
        model = randomised(open_clip.CustomTextCLIP(16, vision, text))
    model.visual.trunk.rope.init_non_persistent_buffers()  # angles are no weights
    with mock.patch("timm.create_model", bare):
        without = open_clip.CustomTextCLIP(16, vision, text).eval()
    state = model.state_dict()
    shared = {key: value for key, value in state.items() if key != "visual.trunk.cls_token"}
    without.load_state_dict({**shared, "visual.trunk.pos_embed": state["visual.trunk.pos_embed"][:, 1:]})
    pixels, ids = inputs(IMAGE)
    expect("open_clip-pe", model, pixels, ids, **pe_stages(model.visual.trunk, pixels))
    expect("open_clip-pe-bare", without, pixels, ids, **pe_stages(without.visual.trunk, pixels))
    folder = HERE / "open_clip-pe"
    folder.mkdir(exist_ok=True)
    save_file({key: value.half() for key, value in state.items()}, folder / "open_clip_model.safetensors")
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, "custom_text": True}
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})


def pe_stages(trunk: Any, pixels: Tensor) -> dict[str, Tensor]:
    """What goes into the layers, what comes out of each and of the norm after them, and what the pool gathers."""
    with torch.no_grad():
        embedded, rotation = trunk._pos_embed(trunk.patch_embed(pixels))
        states = [trunk.norm_pre(embedded)]
        for block in trunk.blocks:
            states.append(block(states[-1], rope=rotation))
        last = trunk.norm(states[-1])
        found = {f"image_states.{i}": state for i, state in enumerate(states)}
        return {**found, "image_states.last": last, "image_pooled": trunk.attn_pool(last)}


def write_chinese_clip() -> None:
    """Chinese-CLIP's own files: `module.` in front, a state dict among other things, in float16."""
    cn_clip = importlib.import_module("cn_clip.clip.model")
    bert = {
        "text_attention_probs_dropout_prob": 0.1,
        "text_hidden_act": "gelu",
        "text_hidden_dropout_prob": 0.1,
        "text_hidden_size": 128,
        "text_initializer_range": 0.02,
        "text_intermediate_size": 96,
        "text_max_position_embeddings": 64,
        "text_num_attention_heads": 2,
        "text_num_hidden_layers": 1,
        "text_type_vocab_size": 2,
    }
    vocabulary = chinese_vocabulary()
    tokenizer = types.SimpleNamespace(vocab={token: i for i, token in enumerate(vocabulary)})
    towers = {"vit": (IMAGE, 1, 64, 16), "rn": (64, "[1,1,2,1]", 4, None)}
    for name, (size, layers, width, patch) in towers.items():
        layers = json.loads(layers) if isinstance(layers, str) else layers
        model = cn_clip.CLIP(16, size, layers, width, patch, len(vocabulary), **bert, tokenizer=tokenizer)
        model = randomised(model).half().float()
        pixels, _ = inputs(size)
        ids = torch.tensor([[2, 5, 6, 7, 3, 0, 0], [2, 9, 3, 0, 0, 0, 0], [2, 5, 9, 10, 11, 12, 3]])
        expect(f"chinese-{name}", model, pixels, ids)
        state = {f"module.{name}": value for name, value in model.half().state_dict().items()}
        torch.save({"epoch": 3, "name": "a run", "state_dict": state}, HERE / f"chinese-{name}.pt")


def expect(name: str, model: Any, pixels: Tensor, ids: Tensor, **states: Tensor) -> None:
    """Keep inputs, and what the library makes of them."""
    with torch.no_grad():
        features = states | {"image_features": model.encode_image(pixels), "text_features": model.encode_text(ids)}
    save_file(
        {"pixel_values": pixels, "input_ids": ids} | {key: value.contiguous() for key, value in features.items()},
        HERE / f"{name}.expected.safetensors",
    )


def inputs(size: int) -> tuple[Tensor, Tensor]:
    """Two pictures, and three texts that end in the highest id, as CLIP's do."""
    generator = torch.Generator().manual_seed(size)
    ids = torch.randint(1, VOCABULARY - 2, (3, CONTEXT), generator=generator)
    for row, end in enumerate((CONTEXT - 1, 4, 9)):
        ids[row, 0], ids[row, end], ids[row, end + 1 :] = VOCABULARY - 2, VOCABULARY - 1, 0
    return torch.randn(2, 3, size, size, generator=generator), ids


def randomised(model: nn.Module) -> Any:
    """Move everything off its first value: biases of 0 and norms of 1 would hide a wrong mapping."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("logit_scale") or not value.is_floating_point() or value.isinf().any():
                continue
            if value.ndim > 1:
                value.normal_(0, 0.1, generator=generator)
            else:
                value.uniform_(0.5, 1.5, generator=generator)
            value.copy_((value * 64).round() / 64)  # exact in float16, and small once compressed
    return model.eval()


def write_tokenizers() -> None:
    """A byte-level BPE without merges, a WordPiece of a few characters, and a Unigram of letters."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{byte}</w>" for byte in alphabet), "<|startoftext|>", "<|endoftext|>"]
    (HERE / "clip-tokenizer").mkdir(exist_ok=True)
    write_json(HERE / "clip-tokenizer" / "vocab.json", {token: i for i, token in enumerate(tokens)})
    (HERE / "clip-tokenizer" / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    write_json(HERE / "clip-tokenizer" / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer"})
    (HERE / "chinese-tokenizer").mkdir(exist_ok=True)
    (HERE / "chinese-tokenizer" / "vocab.txt").write_text("\n".join(chinese_vocabulary()) + "\n", encoding="utf-8")
    write_json(HERE / "chinese-tokenizer" / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    write_unigram()


def write_unigram() -> None:
    """XLM-RoBERTa's kind of tokenizer."""
    from tokenizers import Tokenizer, models

    folder = HERE / "unigram-tokenizer"
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.Unigram(unigram_pieces(), unk_id=3))
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})


def unigram_pieces() -> list[tuple[str, float]]:
    """Pieces with the fairseq ids: special tokens, letters, some of them after a blank, and `<mask>` at the end."""
    letters = [*string.ascii_letters, *CHINESE, "▁", *(f"▁{letter}" for letter in "abcdehpt")]
    scores = [(piece, -float(i + 3)) for i, piece in enumerate(letters)]
    return [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *scores, ("<mask>", 0.0)]


def write_openai_bpe() -> None:
    """A list of merges as OpenAI's package carries it, and what that package makes of it."""
    merges = ["#version: 0.2", "a t</w>", "c at</w>", "d o", "do g</w>", "p h", "ph o", "t o</w>", "pho to</w>", "Ã ©"]
    path = HERE / "openai-bpe.txt.gz"
    path.write_bytes(gzip.compress("\n".join([*merges, ""]).encode(), mtime=0))
    trimmed = HERE / "trimmed.gz"  # of its last line feed: the package takes what follows for a merge
    trimmed.write_bytes(gzip.compress("\n".join(merges).encode()))
    tokenizer = load_openai_clip("simple_tokenizer").SimpleTokenizer(str(trimmed))
    trimmed.unlink()
    texts = ["a photo of a cat", "DOG, dogs & cats!", "café 猫 😀", "it's 2024"]
    expected = {
        "vocab": tokenizer.encoder,
        "ids": {text: tokenizer.encode(text) for text in texts},
        "cleaned_ids": {text: tokenizer.encode(text) for text in HARD_TEXTS},
    }
    write_json(HERE / "openai-bpe.expected.json", expected)


def chinese_vocabulary() -> list[str]:
    """WordPiece, special tokens first."""
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHINESE]


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def load_openai_clip(name: str = "model") -> Any:
    """A module of openai-clip without its `__init__`, which needs an old setuptools."""
    package = importlib.util.find_spec("clip")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"openai_clip_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stand_in_for_torchvision() -> None:
    """Let modules import names of torchvision that they do not use here."""
    importlib.import_module("transformers")  # looks for torchvision too, and minds a stand-in
    if importlib.util.find_spec("torchvision") is None:
        names = ("", ".datasets", ".models", ".models.feature_extraction", ".transforms", ".transforms.functional")
        names += (".transforms.transforms", ".ops", ".ops.misc")
        for name in names:
            sys.modules[f"torchvision{name}"] = mock.MagicMock()
        sys.modules["torchvision.ops.misc"].FrozenBatchNorm2d = nn.BatchNorm2d


if __name__ == "__main__":
    main()
