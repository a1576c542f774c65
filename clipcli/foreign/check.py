"""Reads checkpoints of other layouts and checks that their parts fit; writes nothing. Needs torch only when called."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli import hub
from clipcli.checkpoints.config import ModelConfig, parse_config, read_config
from clipcli.checkpoints.open_clip import is_open_clip
from clipcli.errors import UsageError, reading_checkpoint
from clipcli.foreign.kept import kept_conversion
from clipcli.foreign.tokenizers import find_tokenizer
from clipcli.images.preprocess import Preprocessing

if TYPE_CHECKING:
    from clipcli.foreign.hub_layout import HubCheckpoint


def read_checked(source: Path, activation: str | None = None) -> "tuple[HubCheckpoint, ModelConfig]":
    """Read a checkpoint and check that its weights, its config and its preprocessing fit this program and each other.

    Raises:
        UsageError: As `convert`.
        ModelError: As `convert`.
    """
    from clipcli.foreign.recognise import read_foreign
    from clipcli.networks.loading import CheckpointWeights, check_fit

    with reading_checkpoint(source):
        checkpoint = read_foreign(source, activation)
        config = parse_config(checkpoint.config, source)
        check_fit(config, CheckpointWeights.of(checkpoint.tensors, f"{source}, converted,"))
        preprocessing = Preprocessing.from_config(checkpoint.preprocessing, str(source))
        if config.vision is not None:
            preprocessing.check_fits(config.vision, str(source), str(source))
        return checkpoint, config


def foreign_config(source: Path) -> ModelConfig:
    """Read what networks a checkpoint of another layout holds.

    Raises:
        UsageError: It does not say which activation its network has.
        ModelError: It is damaged or not supported.
    """
    return read_checked(source)[1]


def config_of(folder: Path) -> ModelConfig:
    """Read what networks a checkpoint of any layout holds, from what it was converted into where it was.

    Raises:
        ModelError: It is damaged or not supported.
    """
    if not is_open_clip(folder):
        return read_config(folder)
    kept = kept_conversion(folder)
    return read_config(kept) if kept else foreign_config(folder)


def check_foreign(source: Path) -> None:
    """Check all that a run needs of a checkpoint of another layout, its tokenizer too.

    Raises:
        UsageError: It does not say which activation its network has.
        ModelError: As `convert`.
    """
    find_tokenizer(read_checked(source)[1], source, None)


def verify_foreign(source: Path) -> tuple[hub.FileCheck, ...]:
    """Check the files of a checkpoint of another layout. No hashes of them are known, so all is read and compared.

    Raises:
        ModelError: Each file is whole, but together they are not a checkpoint that this program runs.
    """
    files = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else [source]
    checks = tuple(hub.check_file(path) for path in files)
    if not any(check.status == "damaged" for check in checks):
        with suppress(UsageError):  # whole, though it does not say which activation its network has
            read_checked(source)
    return checks
