"""JSON that is sound as JSON, with something in it that nobody expects."""

import random
from collections.abc import Iterator
from typing import Any

HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 3.5, 10**6, 10**9, 10**30, 10**400, 2**63, 1e308, 1e-308, float("inf"),
    float("nan"), "", "x", "../../etc/passwd", "\0", "\ud800", "9" * 5000, "a" * 10**6, [], {}, [[]], [1, 2, 3],
    [10**9] * 3, {"a": {"b": []}}, ["x"] * 1000, {"height": 30000, "width": 30000}, {"shortest_edge": 10**9},
    "CLIPTokenizer", "PreTrainedTokenizerFast", "SiglipImageProcessor", "siglip", "bert", "openai",
]  # fmt: skip


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON document, as its container and key."""
    for key in range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ():
        yield value, key
        yield from _nodes(value[key])


def mutated(rng: random.Random, content: Any) -> Any:
    """Change one value anywhere in a document, or take it out."""
    places = list(_nodes(content))
    if not places or rng.random() < 0.03:
        return rng.choice(HOSTILE)
    container, key = rng.choice(places)
    if rng.random() < 0.15:
        del container[key]
    elif isinstance(container[key], int) and rng.random() < 0.3:
        container[key] += rng.choice([-1, 1, 2, 100])
    else:
        container[key] = rng.choice(HOSTILE)
    return content
