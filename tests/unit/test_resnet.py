import pytest
import torch

from clipcli.checkpoints.towers import ResNetConfig
from clipcli.errors import DamagedModelError
from clipcli.networks.resnet import BatchNorm, ModifiedResNet

CONFIG = ResNetConfig(layers=(1, 2, 1, 1), width=4, num_attention_heads=4, image_size=64)
SECTION = {"num_hidden_layers": [3, 4, 6, 3], "width": 64, "num_attention_heads": 32, "image_size": 224}


@pytest.fixture
def tower() -> ModifiedResNet:
    torch.manual_seed(0)
    tower = ModifiedResNet(CONFIG, projection_dim=16).eval()
    for value in tower.state_dict().values():
        value.uniform_(0.5, 1.0) if value.ndim == 1 else value.normal_(0, 0.2)
    return tower


@torch.inference_mode()
def test_attentions_on_request_change_nothing_else(tower: ModifiedResNet) -> None:
    pixels = torch.randn(3, 3, 64, 64)
    plain = tower(pixels)
    asked = tower(pixels, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(asked.pooler_output, plain.pooler_output)
    assert (plain.hidden_states, plain.attentions) == (None, None)
    (weights,) = asked.attentions
    assert weights.shape == (3, 4, 1, 1 + 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 1))
    assert [tuple(state.shape) for state in asked.hidden_states] == [
        (3, 256, 4),
        (3, 256, 16),
        (3, 64, 32),
        (3, 16, 64),
        (3, 4, 128),
    ]
    assert torch.equal(asked.hidden_states[-1], asked.last_hidden_state)


@torch.inference_mode()
def test_one_image_is_as_many(tower: ModifiedResNet) -> None:
    pixels = torch.randn(4, 3, 64, 64)
    together = tower(pixels).pooler_output
    alone = torch.cat([tower(image[None]).pooler_output for image in pixels])
    torch.testing.assert_close(alone, together)


def test_images_of_another_size(tower: ModifiedResNet) -> None:
    with pytest.raises(ValueError, match=r"32x64.*64x64"):
        tower(torch.zeros(1, 3, 32, 64))


def test_batch_norm_infers_as_torchs() -> None:
    theirs = torch.nn.BatchNorm2d(5).eval()
    for value in (theirs.weight, theirs.bias, theirs.running_mean, theirs.running_var):
        value.data.uniform_(0.5, 2)
    ours = BatchNorm(5)
    state = theirs.state_dict()
    del state["num_batches_tracked"]
    ours.load_state_dict(dict(state), strict=True)
    x = torch.randn(2, 5, 3, 3)
    assert torch.equal(ours(x), theirs(x))


def test_config_of_rn50() -> None:
    config = ResNetConfig.from_section(SECTION, "vision_config")
    assert (config.layers, config.output_channels, config.grid_size) == ((3, 4, 6, 3), 2048, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": [3, 4, 6]}, "four"),
        ({"num_hidden_layers": [3, 4, 6, "3"]}, "four"),
        ({"num_hidden_layers": [3, 4, 6, 0]}, "four"),
        ({"width": 64.5}, "width.*64.5"),
        ({"num_attention_heads": 0}, "num_attention_heads.* 0"),
        ({"num_attention_heads": 7}, "num_attention_heads 7"),
    ],
)
def test_bad_configs(change: dict[str, object], message: str) -> None:
    with pytest.raises(DamagedModelError, match=message):
        ResNetConfig.from_section({**SECTION, **change}, "vision_config")


@pytest.mark.parametrize("name", ["width", "num_attention_heads", "image_size"])
def test_a_config_that_lacks_a_size(name: str) -> None:
    with pytest.raises(DamagedModelError, match=name):
        ResNetConfig.from_section({key: value for key, value in SECTION.items() if key != name}, "vision_config")
