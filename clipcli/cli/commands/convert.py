"""`clip models convert`: a checkpoint of another layout, as a folder in the hub's."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from clipcli.cli.output.destination import print_path
from clipcli.cli.shell.boundary import say


class Activation(StrEnum):
    """The activations that such networks have."""

    quick_gelu = "quick_gelu"
    gelu = "gelu"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="A checkpoint file from OpenAI, open_clip or Chinese-CLIP, or a folder with an open_clip, Flax or "
            "TensorFlow checkpoint.",
            show_default=False,
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder to write.", show_default=False)],
    activation: Annotated[
        Activation | None, typer.Option(help="Activation function, if the file does not record it.")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder with the tokenizer's files, or bpe_simple_vocab_16e6.txt.gz, if they are neither next to SRC "
            "nor cached.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Convert a checkpoint to a folder in the hub's layout, with safetensors weights.

    The folder can be used with --model, and with other programs for the hub's layout, except for architectures that
    only open_clip has (XLM-RoBERTa CLIP, BiomedCLIP, PE-core). If SRC records all settings, --model also accepts SRC
    itself. Code in SRC is never run: only tensors are read.

    \b
    clip models convert ViT-B-32.pt vit-b32
    clip models convert open_clip_model.safetensors my-model --activation gelu
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.foreign.convert import convert as write_folder

    write_folder(source, folder, activation=activation.value if activation else None, tokenizer=tokenizer)
    if not quiet:
        say(f"{source} is converted")
    print_path(folder)
