"""What the README shows of the program, made from it: the image of a terminal, the table of models. `make readme`.

The command in the image runs for real, in a pseudo-terminal, and rich turns what it wrote there into SVG. Image and
script lie with the man pages: documentation that is generated, committed, and held to the program by tests.
"""

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from clipcli import hub

MAN = Path(__file__).parent
IMAGE = MAN / "classify.svg"
SAMPLES = MAN.parent / "clipcli" / "demo" / "samples"
COMMAND = "clip classify cat.png pizza.webp guitar.png --labels cat,dog,pizza,guitar --model demo"
COLUMNS = 92
README = MAN.parent / "README.md"
_TABLE = re.compile(r"(<!-- models: begin -->\n).*?(<!-- models: end -->\n)", re.DOTALL)


def main() -> None:
    """Write the image, and the table into the README."""
    IMAGE.write_text(image(), encoding="utf-8")
    README.write_text(with_models(README.read_text(encoding="utf-8")), encoding="utf-8")


def with_models(readme: str) -> str:
    """The README with today's table of the models that are best for something."""
    head = ("`--model`", "on the hub", "download", "languages", "ImageNet", "license", "best for")
    lines = [_row(head), _row(["---"] * len(head)), *(_model(row) for row in hub.CHECKPOINTS if row.best_for)]
    return _TABLE.sub(lambda found: found[1] + "".join(lines) + found[2], readme)


def _model(checkpoint: hub.Checkpoint) -> str:
    size, top1 = checkpoint.download_bytes, checkpoint.imagenet_top1
    names, languages = {"en": "English", "zh": "Chinese"}, checkpoint.languages
    return _row(
        [
            f"`{checkpoint.alias}`",
            checkpoint.hub_id,
            "" if size is None else f"{size / 1e9:.1f} GB",
            ", ".join(names[code] for code in languages) if len(languages) < 3 else f"{len(languages)} languages",
            "" if top1 is None else f"{top1:g}",
            checkpoint.license or "",
            checkpoint.best_for or "",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def image() -> str:
    """The command and what it answers, as SVG that needs nothing from any network."""
    console = Console(record=True, width=COLUMNS, height=25, file=io.StringIO(), no_color=False)
    console.print(Text.assemble(("$ ", "green"), COMMAND))
    console.print(Text.from_ansi(shown_on_terminal(COMMAND).rstrip()))
    svg = console.export_svg(title="clip", unique_id="clip")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def shown_on_terminal(command: str) -> str:
    """What a command writes to a terminal of fixed width in the samples' folder, colours and all, without its talk.

    Raises:
        RuntimeError: The command failed.
    """
    ours, its = pty.openpty()
    with tempfile.TemporaryDirectory() as home, os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "clipcli", *shlex.split(command)[1:]],
            cwd=SAMPLES,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=its,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(its)
        written = b""
        with suppress(OSError):  # Linux says "input/output error" when the other end is closed
            while part := terminal.read(4096):
                written += part
        talk = process.communicate()[1]
    if process.returncode != 0:
        raise RuntimeError(f"{command}: exit status {process.returncode}\n{talk}")
    return written.decode().replace("\r\n", "\n")


def _environment(home: str) -> dict[str, str]:
    """The caller's environment without what changes the answer or its looks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLIPCLI_", "HF_", "XDG_"))}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        kept.pop(name, None)
    return {**kept, "HOME": home, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "CLIPCLI_NO_CACHE": "1"}


if __name__ == "__main__":
    main()
