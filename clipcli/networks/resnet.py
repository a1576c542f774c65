"""The modified ResNet image tower of OpenAI's RN checkpoints and of Chinese-CLIP RN50 (arXiv:2103.00020, section 2.4).

Names are those of OpenAI's state dicts. Axes: B batch, C channels, H and W pixels of a feature map, P projection.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipcli.checkpoints.towers import ResNetConfig
from clipcli.networks.transformer import Recorder, TowerOutput, attend, merge_heads, split_heads
from clipcli.networks.vision import check_image_size

_EXPANSION = 4


class BatchNorm(nn.Module):
    """A batch norm that only infers: torch's also keeps a count of batches, which its state must then hold."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, C, H, W) -> (B, C, H, W). Source: arXiv:1502.03167, algorithm 2, step 11."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


class Downsample(nn.Sequential):
    """The way past a block that changes size: an average pool, then a 1x1 convolution and its norm (`0` and `1`)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(nn.Conv2d(channels_in, channels_out, 1, bias=False), BatchNorm(channels_out))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, channels_in, H, W) -> (B, channels_out, H / stride, W / stride)."""
        convolution, norm = self
        return norm(convolution(F.avg_pool2d(x, self.stride)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a residual; a stride is an average pool, not a strided convolution."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        channels_out = channels * _EXPANSION
        self.stride = stride
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = BatchNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(channels)
        self.conv3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.bn3 = BatchNorm(channels_out)
        resized = stride > 1 or channels_in != channels_out
        self.downsample = Downsample(channels_in, channels_out, stride) if resized else None

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, channels_in, H, W) -> (B, 4 channels, H / stride, W / stride)."""
        residual = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(F.avg_pool2d(x, self.stride)))
        return F.relu(x + residual)


class AttentionPool(nn.Module):
    """Attention of the feature map's mean over the map and itself, projected to the space shared with texts."""

    def __init__(self, config: ResNetConfig, projection_dim: int) -> None:
        super().__init__()
        width = config.output_channels
        self.heads = config.num_attention_heads
        self.positional_embedding = nn.Parameter(torch.zeros(config.grid_size**2 + 1, width))
        self.k_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, projection_dim)

    def forward(self, x: Tensor, recorder: Recorder) -> Tensor:
        """Shapes: x (B, H W, C) -> (B, P)."""
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding  # (B, 1 + H W, C)
        query, key, value = (
            split_heads(projected, self.heads) for projected in (self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x))
        )
        return self.c_proj(merge_heads(attend(query, key, value, None, recorder)))[:, 0]


class ModifiedResNet(nn.Module):
    """Image tower: a stem of three convolutions, four stages of bottlenecks, attention pooling."""

    def __init__(self, config: ResNetConfig, projection_dim: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conv1 = nn.Conv2d(config.num_channels, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = BatchNorm(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = BatchNorm(width)
        one, two, three, four = config.layers
        self.layer1 = _stage(width, width, one, stride=1)
        self.layer2 = _stage(_EXPANSION * width, 2 * width, two, stride=2)
        self.layer3 = _stage(_EXPANSION * 2 * width, 4 * width, three, stride=2)
        self.layer4 = _stage(_EXPANSION * 4 * width, 8 * width, four, stride=2)
        self.attnpool = AttentionPool(config, projection_dim)

    def forward(
        self, pixel_values: Tensor, *, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> TowerOutput:
        """Encode normalized pixels.

        Shapes: pixel_values (B, 3, S, S) with S the config's `image_size`; last_hidden_state (B, H W, C) the last
        feature map, row by row; pooler_output (B, P), projected. Hidden states are the stem's map and each stage's;
        attentions the pool's alone, (B, heads, 1, 1 + H W).

        Raises:
            ValueError: The images are not S by S.
        """
        check_image_size(pixel_values, self.config.image_size)
        recorder = Recorder(hidden_states=output_hidden_states, attentions=output_attentions)
        rows = _as_rows(self.feature_map(pixel_values, recorder))
        return TowerOutput(rows, self.attnpool(rows, recorder), recorder.hidden_states, recorder.attentions)

    def feature_map(self, pixel_values: Tensor, recorder: Recorder) -> Tensor:
        """All but the pool, for images of any size.

        Shapes: (B, 3, height, width) -> (B, C, height / 32, width / 32).
        """
        x = F.relu(self.bn1(self.conv1(pixel_values)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        recorder.hidden_state(_as_rows(x))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            recorder.hidden_state(_as_rows(x))
        return x


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels_in, channels, stride)
    return nn.Sequential(first, *(Bottleneck(channels * _EXPANSION, channels, 1) for _ in range(blocks - 1)))


def _as_rows(x: Tensor) -> Tensor:
    """Shapes: (B, C, H, W) -> (B, H W, C)."""
    return x.flatten(2).transpose(1, 2)
