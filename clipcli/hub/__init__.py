"""Which models there are and where their files lie.

huggingface_hub owns download and cache. Must not import torch, nor another room.
"""

from clipcli.hub.cache import weight_files
from clipcli.hub.registry import DEFAULT_MODEL, Checkpoint, find_checkpoint
from clipcli.hub.resolve import ModelFiles, ProgressCallback, resolve_model

__all__ = [
    "DEFAULT_MODEL",
    "Checkpoint",
    "ModelFiles",
    "ProgressCallback",
    "find_checkpoint",
    "resolve_model",
    "weight_files",
]
