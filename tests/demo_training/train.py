"""The training loop: contrastive, with soft targets, a none-of-these term and resumable state.

Runs on one thread beside one process that draws the batches: on a shared machine that is faster than two threads.
"""

import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from clipcli.checkpoints.config import ModelConfig
from clipcli.checkpoints.towers import ClipTextConfig, VisionConfig
from clipcli.networks.dual_encoder import DualEncoder
from tests.demo_training.batches import Batch, Batches
from tests.demo_training.settings import Settings

log = logging.getLogger(__name__)
SAVE_EVERY = 100
DISTRACTORS = 15
HIGHEST_SCALE = 100.0
POSITIONS = "vision_model.embeddings.position_embedding.weight"
PARTS = ("model", "head", "muon", "adam")


def build(settings: Settings, image_px: int) -> DualEncoder:
    """Build the untrained network for pictures of `image_px`."""
    vision = VisionConfig(
        hidden_size=settings.vision_width,
        intermediate_size=4 * settings.vision_width,
        num_hidden_layers=settings.vision_layers,
        num_attention_heads=settings.vision_heads,
        image_size=image_px,
        patch_size=settings.patch_px,
    )
    text = ClipTextConfig(
        hidden_size=settings.text_width,
        intermediate_size=4 * settings.text_width,
        num_hidden_layers=settings.text_layers,
        num_attention_heads=settings.text_heads,
        vocab_size=settings.vocab_size,
        max_position_embeddings=settings.context_length,
        eos_token_id=settings.end_id,
        pad_token_id=settings.end_id,
    )
    model = DualEncoder(ModelConfig("clip", vision, text, settings.projection))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    # Patches come in far larger than 0.02: positions that small would not be noticed for hundreds of steps.
    nn.init.normal_(model.get_parameter(POSITIONS), std=0.3)
    nn.init.constant_(model.logit_scale, math.log(1 / 0.07))
    return model


def losses(model: DualEncoder, head: nn.Linear, batch: Batch, settings: Settings, step: int) -> dict[str, Tensor]:
    """Compute the three weighted terms of the loss of one batch."""
    with torch.autocast("cpu", torch.bfloat16):
        pictures = model.get_image_features(batch.pixels)
        texts = _text_features(model, batch.ids, settings.end_id)
    pictures, texts = pictures.float(), texts.float()
    scale = model.logit_scale.exp().clamp(max=HIGHEST_SCALE)
    logits = scale * F.normalize(pictures, dim=-1) @ F.normalize(texts, dim=-1).T
    fade = max(0.0, 1 - step / (settings.head_share * settings.steps))
    full = ~batch.empty
    return {
        "contrastive": (_soft_cross_entropy(logits, batch.targets) + _soft_cross_entropy(logits.T, batch.targets.T))
        / 2,
        "none": settings.none_weight * _none_loss(logits[full], batch.targets[full], batch.nothing, step),
        "head": settings.head_weight * fade * _soft_cross_entropy(head(pictures), batch.concepts),
    }


def _text_features(model: DualEncoder, ids: Tensor, end_id: int) -> Tensor:
    """Encode the shorter half and the longer half apart: no sum is spent on the padding of short captions."""
    lengths = (ids != end_id).sum(dim=1) + 1
    order = lengths.argsort()
    halves = [model.get_text_features(ids[half, : int(lengths[half].max())]) for half in order.chunk(2)]
    return torch.cat(halves)[order.argsort()]


def _soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy against each row's targets, brought to a sum of one; rows without a target are left out."""
    totals = targets.sum(dim=1)
    kept = totals > 0
    return -(targets[kept] / totals[kept, None] * logits[kept].log_softmax(dim=1)).sum(dim=1).mean()


def _none_loss(logits: Tensor, targets: Tensor, nothing: Tensor, step: int) -> Tensor:
    """Let "none of these" win wherever the right caption is not among the choices.

    Each picture is asked about a handful of wrong captions and one that says nothing.
    """
    columns = nothing.nonzero()[:, 0]
    chosen = columns[step % len(columns)]
    generator = torch.Generator().manual_seed(step)
    asked = torch.rand(logits.shape, generator=generator) < DISTRACTORS / logits.shape[1]
    asked &= (targets == 0) & ~nothing
    asked[:, chosen] = True
    return -logits.masked_fill(~asked, -torch.inf).log_softmax(dim=1)[:, chosen].mean()


@dataclass
class State:
    """Everything a resumed run needs."""

    model: DualEncoder
    head: nn.Linear
    muon: torch.optim.Optimizer
    adam: torch.optim.Optimizer
    step: int

    def save(self, path: Path) -> None:
        """Write atomically."""
        partial = path.with_suffix(".partial")
        torch.save({"step": self.step} | {name: getattr(self, name).state_dict() for name in PARTS}, partial)
        os.replace(partial, path)


def start(settings: Settings, classes: int, step: int = 0) -> State:
    """Build the state of an untrained run, its picture size that of `step`.

    Muon turns the matrices of the transformer layers, AdamW the rest: a run without Muon needs more than twice as
    many steps to the same loss.
    """
    torch.manual_seed(settings.seed)
    model = build(settings, settings.size_px(step))
    head = nn.Linear(settings.projection, classes)
    inner = [value for name, value in model.named_parameters() if "encoder.layers" in name and value.ndim > 1]
    turned = {id(value) for value in inner}
    outer = [value for value in (*model.parameters(), *head.parameters()) if id(value) not in turned]
    muon = torch.optim.Muon(inner, weight_decay=settings.weight_decay)
    adam = torch.optim.AdamW(outer, betas=(0.9, 0.98), weight_decay=settings.weight_decay)
    return State(model, head, muon, adam, step)


def load(path: Path, settings: Settings) -> State:
    """Read the state of an interrupted or finished run."""
    saved: dict[str, Any] = torch.load(path, weights_only=True)
    # The step before says which size the weights have.
    state = start(settings, len(saved["head"]["bias"]), max(0, saved["step"] - 1))
    for name in PARTS:
        getattr(state, name).load_state_dict(saved[name])
    state.step = saved["step"]
    return state


def enlarge(state: State, settings: Settings) -> State:
    """Go on with larger pictures: the position table is interpolated, everything else stays."""
    bigger = start(settings, state.head.out_features, state.step)
    weights = state.model.state_dict()
    weights[POSITIONS] = _interpolate(weights[POSITIONS], settings.image_px // settings.patch_px)
    bigger.model.load_state_dict(weights)
    bigger.head.load_state_dict(state.head.state_dict())
    bigger.muon.load_state_dict(state.muon.state_dict())
    moments = state.adam.state_dict()
    for index, value in enumerate(bigger.adam.param_groups[0]["params"]):
        if moments["state"][index]["exp_avg"].shape != value.shape:
            del moments["state"][index]
    bigger.adam.load_state_dict(moments)
    return bigger


def _interpolate(table: Tensor, side: int) -> Tensor:
    """Resize a position table (1 + n * n, D) to (1 + side * side, D); the class token's row stays."""
    before = math.isqrt(len(table) - 1)
    grid = table[1:].T.reshape(1, -1, before, before)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([table[:1], grid.flatten(2)[0].T])


def pace(step: int, settings: Settings) -> float:
    """Share of the full learning rate: linear warm-up, then one half cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / (settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


def train(batches: Batches, settings: Settings, path: Path) -> State:
    """Train from `path` if it holds a state, else from nothing; returns the finished state."""
    state = load(path, settings) if path.exists() else start(settings, len(batches.concepts))
    began, recent = time.monotonic(), list[dict[str, float]]()
    for batch in _draw_ahead(batches, settings, state.step):
        if state.step == math.ceil(settings.small_share * settings.steps):
            state = enlarge(state, settings)
        recent.append(_update(state, batch, settings))
        if state.step % SAVE_EVERY == 0 or state.step == settings.steps:
            state.save(path)
            means = {name: sum(terms[name] for terms in recent) / len(recent) for name in recent[0]}
            log.info("step %d  %.0f s  %s", state.step, time.monotonic() - began, means)
            recent.clear()
    return state


def _update(state: State, batch: Batch, settings: Settings) -> dict[str, float]:
    now = pace(state.step, settings)
    state.muon.param_groups[0]["lr"] = now * settings.muon_rate
    state.adam.param_groups[0]["lr"] = now * settings.adam_rate
    terms = losses(state.model, state.head, batch, settings, state.step)
    state.muon.zero_grad()
    state.adam.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    state.muon.step()
    state.adam.step()
    state.step += 1
    return {name: value.item() for name, value in terms.items()}


class _Steps(Dataset[Batch]):
    """The batches by step, for a `DataLoader` to draw ahead in a process of its own."""

    def __init__(self, batches: Batches, settings: Settings) -> None:
        self.batches, self.settings = batches, settings

    def __getitem__(self, step: int) -> Batch:
        return self.batches.draw(step, self.settings.size_px(step))


def _draw_ahead(batches: Batches, settings: Settings, first: int) -> Iterator[Batch]:
    steps = range(first, settings.steps)
    return iter(DataLoader(_Steps(batches, settings), batch_size=None, sampler=steps, num_workers=1, prefetch_factor=8))


def with_steps(settings: Settings, steps: int | None) -> Settings:
    """Shorten or lengthen a run."""
    return settings if steps is None else replace(settings, steps=steps)
