"""The pre-norm transformer that CLIP's image and text towers are made of (arXiv:2103.00020, section 2.4).

Names are the checkpoints'. Axes: B batch, L tokens, D width, H heads.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipcli.checkpoints.sizes import TransformerConfig
from clipcli.networks.activations import ACTIVATION_FUNCTIONS


@dataclass(frozen=True, slots=True)
class TowerOutput:
    """What one tower computes.

    Shapes: last_hidden_state (B, L, D); pooler_output (B, D), before the projection; hidden_states, on request, one
    (B, L, D) for the embeddings and one after each layer; attentions, on request, one (B, H, L, L) a layer.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class Recorder:
    """Collects what a caller asked to see on the way through a tower."""

    def __init__(self, *, hidden_states: bool = False, attentions: bool = False) -> None:
        self._hidden_states: list[Tensor] | None = [] if hidden_states else None
        self._attentions: list[Tensor] | None = [] if attentions else None

    @property
    def wants_attentions(self) -> bool:
        """Whether attention must be computed explicitly, weights and all."""
        return self._attentions is not None

    def hidden_state(self, value: Tensor) -> None:
        """Keep the state (B, L, D) if states were asked for."""
        if self._hidden_states is not None:
            self._hidden_states.append(value)

    def attention(self, weights: Tensor) -> None:
        """Keep the weights (B, H, L, L) if they were asked for."""
        if self._attentions is not None:
            self._attentions.append(weights)

    @property
    def hidden_states(self) -> tuple[Tensor, ...] | None:
        """All states recorded, or None if none were asked for."""
        return None if self._hidden_states is None else tuple(self._hidden_states)

    @property
    def attentions(self) -> tuple[Tensor, ...] | None:
        """All attention weights recorded, or None if none were asked for."""
        return None if self._attentions is None else tuple(self._attentions)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, recorder: Recorder) -> Tensor:
    """Scaled dot-product attention (arXiv:1706.03762, section 3.2.1).

    Shapes: query, key, value (B, H, L, D/H); mask broadcastable to (B, H, L, L), True where attention is allowed;
    returns (B, H, L, D/H).
    """
    if not recorder.wants_attentions:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    recorder.attention(weights)
    return weights @ value


def turned(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn pairs of neighbouring numbers, each as one complex number (arXiv:2104.09864, section 3.2), in float32.

    Shapes: x (..., D/H); rotation, complex64, broadcastable to (..., D/H/2).
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Shapes: (B, L, D) -> (B, H, L, D/H)."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Shapes: (B, H, L, D/H) -> (B, L, D)."""
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None, recorder: Recorder, rotation: Tensor | None = None) -> Tensor:
        """Shapes: x (B, L, D), mask as for `attend`, rotation (L, D/H/2) -> (B, L, D)."""
        query, key, value = (split_heads(proj(x), self.heads) for proj in (self.q_proj, self.k_proj, self.v_proj))
        if rotation is not None:
            query, key = turned(query, rotation), turned(key, rotation)
        return self.out_proj(merge_heads(attend(query, key, value, mask, recorder)))


class MLP(nn.Module):
    """The two-layer perceptron of a transformer layer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, L, D) -> (B, L, D)."""
        return self.fc2(self.activation(self.fc1(x)))


class EncoderLayer(nn.Module):
    """One pre-norm layer: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None, recorder: Recorder, rotation: Tensor | None = None) -> Tensor:
        """Shapes: x (B, L, D) -> (B, L, D)."""
        x = x + self.self_attn(self.layer_norm1(x), mask, recorder, rotation)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """A stack of pre-norm layers."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, mask: Tensor | None, recorder: Recorder, rotation: Tensor | None = None) -> Tensor:
        """Shapes: x (B, L, D) -> (B, L, D); records the state before the first layer and after each."""
        recorder.hidden_state(x)
        for layer in self.layers:
            x = layer(x, mask, recorder, rotation)
            recorder.hidden_state(x)
        return x
