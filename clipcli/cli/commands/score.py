"""`clip score`: how well each text fits each image."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options import (
    LABELS,
    InputOptions,
    ModelOptions,
    RunOutputOptions,
    Scoring,
    ScoringName,
    SortOptions,
    Temperature,
    expand_options,
)
from clipcli.cli.output.shapes import SCORED
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.answers.classify import ClassifyOptions, TextScorer
    from clipcli.api.model import Model

_EXAMPLE = 'use --text "a rock concert", once or several times'
# Folders take their names from texts; most file systems allow 255 bytes.
_LONGEST_FOLDER_BYTES = 200


@expand_options
def score(
    inputs: InputOptions,
    *,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", metavar="TEXT", help="A text to compare. Repeatable.", rich_help_panel=LABELS),
    ] = None,
    scoring: Scoring = ScoringName.auto,
    temperature: Temperature = None,
    sorting: SortOptions,
    model: ModelOptions,
    output: RunOutputOptions,
) -> None:
    """Compare images with whole texts, used as they are.

    \b
    clip score poster.png --text "a rock concert" --text "a wedding"
    clip score ~/photos --text "a sunset over the sea" --output sunsets.csv
    clip score ~/photos --text "a screenshot" --text "a photo" --sort-into sorted
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.answers.classify import ClassifyOptions
    from clipcli.cli.options.conflicts import refuse_conflicts
    from clipcli.cli.output.runner import Runner

    refuse_conflicts(inputs, sorting, output)
    texts = _checked(text or [])
    if sorting.sort_into is not None:
        _check_folders(texts)
    options = ClassifyOptions(scoring=scoring.value, temperature=temperature)
    Runner(ScoreQuestion(texts, options), inputs, model, output, sorting).run()


class ScoreQuestion:
    """How well each text fits."""

    shape = SCORED
    levels: Mapping[str, Sequence[str]] = {}

    def __init__(self, texts: Sequence[str], options: "ClassifyOptions") -> None:
        self._texts = texts
        self._options = options
        self._scorer: TextScorer

    def settings(self, model: "Model") -> dict[str, Any]:
        """What an answer depends on."""
        return {
            "--text": list(self._texts),
            "--scoring": self._options.scoring,
            "--temperature": self._options.temperature,
        }

    def prepare(self, model: "Model") -> "TextScorer":
        """Encode the texts."""
        self._scorer = model.text_scorer(self._texts, self._options)
        return self._scorer

    def describe(self, model: "Model") -> dict[str, Any]:
        """The texts."""
        from clipcli.api.questions import describe_score

        return describe_score(self._texts, self._scorer)


def _checked(texts: list[str]) -> list[str]:
    if not texts:
        raise UsageError("no text is given", hint=_EXAMPLE)
    for i, text in enumerate(texts):
        if not text.strip():
            raise UsageError("a --text is empty", hint=_EXAMPLE)
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UsageError(f"--text {text!r} is not UTF-8 text", hint="check the encoding of your terminal or script")
        if text in texts[:i]:
            raise UsageError(f"--text {text!r} is given twice", hint="give each text once")
    return texts


def _check_folders(texts: list[str]) -> None:
    """Refuse texts by which images cannot be sorted.

    Raises:
        UsageError: There is one text only, or one is too long for a folder's name.
    """
    if len(texts) == 1:
        raise UsageError(
            "--sort-into sorts by the text that fits best, and there is only one",
            hint='add what else the images may show: --text "something else"',
        )
    for text in texts:
        if len(text.encode()) > _LONGEST_FOLDER_BYTES:
            raise UsageError(
                f"--sort-into makes a folder of each text, and {text[:40]!r}... is too long for the name of one",
                hint="use a shorter text",
            )
