"""How everything that takes long says how far it is: one protocol for downloads, prompts and images."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how much is done and how much there is in all."""


def unobserved(done: int, total: int) -> None:
    """Nobody watches."""
