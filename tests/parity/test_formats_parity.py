"""Files that the libraries themselves wrote, converted, against what those libraries computed from them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from clipcli.checkpoints.config import read_config
from clipcli.checkpoints.towers import ResNetConfig
from clipcli.foreign.convert import convert
from clipcli.networks.loading import load_network
from tests.helpers.formats import DATA, FIXTURES, converted, expected

TOLERANCE = 2e-6
RESNETS = {"openai-rn", "chinese-rn"}
OF_OTHERS = {"open_clip-xlm-roberta", "open_clip-biomed", "open_clip-pe"}  # for which `transformers` has no class


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    parent = tmp_path_factory.mktemp("converted")
    return {name: converted(name, parent / name) for name in FIXTURES}


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < TOLERANCE


@pytest.mark.parametrize("name", FIXTURES)
@torch.inference_mode()
def test_features_are_the_librarys_own(name: str, folders: dict[str, Path]) -> None:
    network = load_network(read_config(folders[name]), [folders[name] / "model.safetensors"])
    tensors, mask = expected(name)
    assert_close(network.get_image_features(tensors["pixel_values"]), tensors["image_features"])
    assert_close(network.get_text_features(tensors["input_ids"], mask), tensors["text_features"])


@pytest.mark.parametrize("name", sorted(set(FIXTURES) - RESNETS - OF_OTHERS))
@torch.inference_mode()
def test_transformers_loads_what_is_written(name: str, folders: dict[str, Path]) -> None:
    from transformers import AutoModel

    reference, report = AutoModel.from_pretrained(folders[name], output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tensors, mask = expected(name)
    reference.eval()
    assert_close(reference.get_image_features(tensors["pixel_values"]).pooler_output, tensors["image_features"])
    assert_close(reference.get_text_features(tensors["input_ids"], mask).pooler_output, tensors["text_features"])


@pytest.mark.parametrize("name", sorted(RESNETS))
def test_transformers_refuses_a_resnet_rather_than_inventing_weights(name: str, folders: dict[str, Path]) -> None:
    from huggingface_hub.errors import StrictDataclassFieldValidationError
    from transformers import AutoModel

    with pytest.raises(StrictDataclassFieldValidationError, match="num_hidden_layers"):
        AutoModel.from_pretrained(folders[name])


@pytest.mark.parametrize("name", sorted(set(FIXTURES) - RESNETS))
def test_tokenizer_and_preprocessing_are_read_the_same_way(name: str, folders: dict[str, Path]) -> None:
    from PIL import Image
    from transformers import AutoTokenizer, CLIPImageProcessorPil

    from clipcli.files import read_json
    from clipcli.images.preprocess import Preprocessing
    from clipcli.text.tokenizer import load_tokenizer

    folder = folders[name]
    family = read_config(folder).family
    text = "猫和狗" if FIXTURES[name].tokenizer == "chinese-tokenizer" else "A photo of a cat"
    ours = load_tokenizer(folder, family, context_length=16).encode([text])[0]
    assert list(ours.ids) == AutoTokenizer.from_pretrained(folder)(text).input_ids
    config = read_json(folder / "preprocessor_config.json")
    image = Image.linear_gradient("L").resize((50, 40)).convert("RGB")
    preprocessing = Preprocessing.from_config(config, "x")
    pixels = torch.from_numpy(preprocessing.normalize(preprocessing.pixels(image)[None]))
    theirs = CLIPImageProcessorPil.from_pretrained(folder)(image, return_tensors="pt").pixel_values
    assert torch.equal(pixels, theirs)


def test_the_activation_matters(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    convert(DATA / "open_clip-custom.pt", wrong, activation="quick_gelu", tokenizer=DATA / "clip-tokenizer")
    network = load_network(read_config(wrong), [wrong / "model.safetensors"])
    tensors, _ = expected("open_clip-custom")
    with pytest.raises(AssertionError):
        assert_close(network.get_image_features(tensors["pixel_values"]), tensors["image_features"])


def test_resnets_are_resnets(folders: dict[str, Path]) -> None:
    assert {name for name in FIXTURES if isinstance(read_config(folders[name]).vision, ResNetConfig)} == RESNETS


@pytest.mark.parametrize("name", ["openai-vit", "open_clip-custom", "chinese-vit"])
def test_half_precision_stays_half(name: str, folders: dict[str, Path]) -> None:
    tensors = load_file(folders[name] / "model.safetensors")
    assert tensors["vision_model.embeddings.patch_embedding.weight"].dtype is torch.float16
