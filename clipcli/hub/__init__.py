"""Which models there are and where their files lie.

huggingface_hub owns download and cache.
"""

from clipcli.hub.cache import TOKENIZER_FILES, missing_files, weight_files
from clipcli.hub.default import default_model, set_default_model
from clipcli.hub.registry import CHECKPOINTS, DEFAULT_MODEL, DEMO, Checkpoint, checkpoints_for, find_checkpoint
from clipcli.hub.remote import why_unreachable
from clipcli.hub.resolve import (
    ModelFiles,
    demo_folder,
    fetch_model,
    find_model,
    hub_id_of,
    is_here,
    is_local,
    local_path,
    model_folder,
    pull_model,
)
from clipcli.hub.stored import FileCheck, Removal, StoredModel, check_file, plan_removal, stored_models, verify_files

__all__ = [
    "CHECKPOINTS",
    "DEFAULT_MODEL",
    "DEMO",
    "TOKENIZER_FILES",
    "Checkpoint",
    "FileCheck",
    "ModelFiles",
    "Removal",
    "StoredModel",
    "check_file",
    "checkpoints_for",
    "default_model",
    "demo_folder",
    "fetch_model",
    "find_checkpoint",
    "find_model",
    "hub_id_of",
    "is_here",
    "is_local",
    "local_path",
    "missing_files",
    "model_folder",
    "plan_removal",
    "pull_model",
    "set_default_model",
    "stored_models",
    "verify_files",
    "weight_files",
    "why_unreachable",
]
