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
            help="A file of OpenAI, open_clip or Chinese-CLIP, or a folder of open_clip, Flax or TensorFlow.",
            show_default=False,
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write, a new one.", show_default=False)],
    activation: Annotated[
        Activation | None, typer.Option(help="What the network computes with, where the file does not say.")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder of the tokenizer's files, or bpe_simple_vocab_16e6.txt.gz, if not beside SRC or in a cache.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Write a checkpoint of another layout as a folder in the hub's layout, weights as safetensors.

    Programs made for that layout load the folder as they load a model of the hub, but for towers that open_clip alone
    has (XLM-RoBERTa CLIP, BiomedCLIP), and --model takes it. (--model takes SRC too, where the file says all that is
    needed.) Nothing in SRC is run: it is read as tensors only.

    \b
    clip models convert ViT-B-32.pt vit-b32
    clip models convert open_clip_model.safetensors my-model --activation gelu
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.foreign.convert import convert as write_folder

    write_folder(source, folder, activation=activation.value if activation else None, tokenizer=tokenizer)
    if not quiet:
        say(f"{source} is converted")
    print_path(folder)
