"""Which layout a file or folder has, told by what is in it."""

from dataclasses import replace
from pathlib import Path

from clipcli.checkpoints import open_clip
from clipcli.errors import DamagedModelError, UnsupportedModelError, UsageError
from clipcli.foreign import chinese_clip, open_clip_towers, openai
from clipcli.foreign.flax_and_tensorflow import flax_or_tensorflow_weights, read_flax_or_tensorflow
from clipcli.foreign.hub_layout import HubCheckpoint
from clipcli.foreign.state_dict import read_state_dict

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def read_foreign(source: Path, activation: str | None = None) -> HubCheckpoint:
    """Read a checkpoint of another layout.

    Args:
        source: A file, a folder with a file and its `open_clip_config.json`, or a hub folder with Flax's or
            TensorFlow's weights only.
        activation: `gelu` or `quick_gelu`; needed where the file does not say, refused where it says otherwise.

    Raises:
        UsageError: The activation must be given, or is not what the file says.
        ModelError: The file is damaged, no checkpoint, or of another network.
    """
    older = flax_or_tensorflow_weights(source) if (source / "config.json").is_file() else None
    if older is not None:
        if activation is not None:
            raise UsageError(
                f"activation {activation} does not go with {source}: its config.json says which",
                parameter="activation",
                value=activation,
            )
        return read_flax_or_tensorflow(source, older)
    path = _weights(source) if source.is_dir() else source
    config = path.parent / open_clip.CONFIG
    settings = open_clip.read_settings(config) if config.is_file() else open_clip.Settings()
    tensors, stated = read_state_dict(path)
    name = str(path)
    if chinese_clip.is_chinese_clip(tensors):
        _agreed(activation, chinese_clip.ACTIVATION, name)
        return chinese_clip.read_chinese_clip(tensors, name)
    if open_clip_towers.has_towers_of_others(tensors):
        settings = replace(settings, activation=_agreed(activation, settings.activation, name))
        return open_clip_towers.read_towers_of_others(tensors, name, settings)
    if not openai.is_openai(tensors):
        raise _unknown(name, next(iter(tensors)))
    stated = settings.activation or stated or openai.stated_activation(tensors)
    settings = replace(settings, activation=_agreed(activation, stated, name))
    return openai.read_openai(tensors, name, settings)


def _weights(folder: Path) -> Path:
    """The one file of weights in a folder; safetensors go before their pickled twins."""
    for suffixes in (_SUFFIXES[:1], _SUFFIXES[1:]):
        found = sorted(path for path in folder.iterdir() if path.suffix in suffixes and path.is_file())
        if len(found) > 1:
            raise UsageError(
                f"{folder} holds several files of weights: {', '.join(path.name for path in found)}",
                hint="give the file instead of the folder",
            )
        if found:
            return found[0]
    raise DamagedModelError(f"{folder} holds no weights: expected a file ending in {', '.join(_SUFFIXES)}")


def _agreed(asked: str | None, stated: str | None, source: str) -> str | None:
    if asked is not None and stated is not None and asked != stated:
        raise UsageError(
            f"activation {asked} does not go with {source}, whose network has {stated}",
            parameter="activation",
            value=asked,
        )
    return stated or asked


def _unknown(source: str, example: str) -> UnsupportedModelError:
    if example.startswith(("text_model.", "vision_model.", "logit_scale")):
        hint = "its names are those of the hub's layout: give the folder that it lies in, with its config.json"
    else:
        hint = "known are OpenAI's, open_clip's and Chinese-CLIP's own files, and folders in the hub's layout"
    return UnsupportedModelError(f"{source} is not a checkpoint in a known layout: it holds {example}", hint=hint)
