"""How quickly prompts are encoded, beside padding, length-trimmed batches and `transformers`.

    python -m tests.bench.text --model FOLDER [--label-set imagenet-1k] [--rounds 5] [--json]

Every round runs each way once on prompts of its own, so that what else the machine does meets all alike; the
medians over the rounds are compared. Causal towers get 80 templates times 250 labels, others bare labels.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import clipcli
from clipcli.compute.prefix_tree import packs
from clipcli.compute.torch_backend.text_encoder import TorchTextEncoder
from clipcli.labels.library import find_label_set, find_templates
from clipcli.networks.clip_text import CausalTextTransformer
from clipcli.networks.dual_encoder import DualEncoder
from clipcli.networks.loading import load_network
from clipcli.text.tokenizer import TextTokenizer

TEMPLATES, LABELS = 80, 250
QUALITIES = ("small", "large", "dark", "bright", "strange")
MEDIA = ("drawing", "painting", "sculpture", "sketch")
BATCH = 64
# What one round encodes of them: whole templates, as they share their beginnings.
TEMPLATES_A_ROUND = 3

Ids = Sequence[tuple[int, ...]]


@dataclass
class Way:
    """One way to encode, and how many prompts it gets a round (slow ones fewer)."""

    name: str
    encode: Callable[[Ids], object]
    rounds: list[Ids]


def templates() -> list[str]:
    """The general templates of the library, and twenty more of the usual shape."""
    extra = [f"a {quality} {medium} of the {{}}." for quality in QUALITIES for medium in MEDIA]
    return [*find_templates("photo-60").templates, *extra][:TEMPLATES]


def padded(network: torch.nn.Module, pad: int, length: int | None, batch: int) -> Callable[[Ids], None]:
    """Encode in the order given, padded to a length, or to the longest of each batch."""

    @torch.inference_mode()
    def encode(ids: Ids) -> None:
        for start in range(0, len(ids), batch):
            part = ids[start : start + batch]
            width = length or max(map(len, part))
            tokens = torch.tensor([[*row, *[pad] * (width - len(row))] for row in part])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in part])
            network.get_text_features(input_ids=tokens, attention_mask=mask)

    return encode


def some(ids: Ids, count: int, rounds: int) -> list[Ids]:
    """Runs of prompts from all over the list, in its order; one more to warm up with."""
    starts = np.linspace(0, len(ids) - count, rounds + 1).astype(int)
    return [ids[start : start + count] for start in starts]


def measure(ways: list[Way]) -> dict[str, float]:
    """Milliseconds a prompt, alternating, medians over the rounds; the first round warms up."""
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(len(ways[0].rounds)):
        for way in ways:
            ids = way.rounds[number]
            began = time.perf_counter()
            way.encode(ids)
            times[way.name].append((time.perf_counter() - began) * 1000 / len(ids))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def largest_difference(network: DualEncoder, encoder: TorchTextEncoder, ids: Ids) -> float:
    """Between features and those of one prompt at a time."""
    got = encoder.encode(ids)
    with torch.inference_mode():
        rows = [network.get_text_features(torch.tensor([row]), torch.ones(1, len(row)))[0] for row in ids]
    want = torch.nn.functional.normalize(torch.stack(rows), dim=-1).numpy()
    return float(np.abs(got - want).max())


def reference(folder: Path) -> torch.nn.Module:
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder).eval()


def prompts(tokenizer: TextTokenizer, names: Sequence[str], causal: bool) -> tuple[Ids, list[Ids]]:
    """All prompts label by label, as they are made, and the same in shares of whole templates."""
    wanted = templates() if causal else ["{}"]
    by_template = [[template.replace("{}", name) for name in names] for template in wanted]
    encoded = [[encoding.ids for encoding in tokenizer.encode(texts)] for texts in by_template]
    return [ids for row in zip(*encoded, strict=True) for ids in row], encoded


def run(folder: Path, label_set: str, rounds: int) -> dict[str, object]:
    """Measure one checkpoint."""
    model = clipcli.load(str(folder))
    names = [label.name for label in find_label_set(label_set).labels][:LABELS]
    weights = sorted(folder.glob("*.safetensors"))
    network = load_network(model.checkpoint.config, weights, image=False)
    causal = isinstance(network.text_model, CausalTextTransformer)
    ids, shares = prompts(model.checkpoint.tokenizer, names, causal)
    encoder = TorchTextEncoder(
        load_network(model.checkpoint.config, weights, image=False), model.checkpoint.tokenizer.pad_token_id
    )
    context, pad = model.checkpoint.tokenizer.context_length, model.checkpoint.tokenizer.pad_token_id
    peer = reference(folder)
    ours = [[i for share in shares[at :: rounds + 1][:TEMPLATES_A_ROUND] for i in share] for at in range(rounds + 1)]
    ours = ours if causal else [ids] * (rounds + 1)
    ways = [
        Way("clipcli", encoder.encode, ours),
        Way("trimmed", padded(network, pad, None, BATCH), some(ids, 2 * BATCH, rounds)),
        Way("padded", padded(network, pad, context, BATCH), some(ids, BATCH // 2, rounds)),
        Way("transformers trimmed", padded(peer, pad, None, BATCH), some(ids, 2 * BATCH, rounds)),
        Way("transformers padded", padded(peer, pad, context, BATCH), some(ids, BATCH // 2, rounds)),
    ]
    times = measure(ways)
    began = time.perf_counter()
    made = list(packs(ids, 512))
    return {
        "model": folder.name,
        "prompts": f"{len(shares)} templates x {len(names)} labels of {label_set}",
        "mean_tokens": round(statistics.mean(map(len, ids)), 2),
        "nodes_a_prompt": round(sum(len(pack.tokens) for pack in made) / len(ids), 2) if causal else None,
        "threads": torch.get_num_threads(),
        "ms_a_prompt": {name: round(value, 2) for name, value in times.items()},
        "times_faster_than": {name: round(times[name] / times["clipcli"], 2) for name in times if name != "clipcli"},
        "tree_share_of_time": round((time.perf_counter() - began) * 1000 / len(ids) / times["clipcli"], 4),
        "largest_difference": largest_difference(network, encoder, ids[:: max(1, len(ids) // 200)]),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--label-set", default="imagenet-1k")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = run(options.model, options.label_set, options.rounds)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key:20} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
