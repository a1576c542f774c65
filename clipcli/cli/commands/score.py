"""`clip score`: how well each text fits each image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import RunOutputOptions
from clipcli.cli.options.panels import LABELS, SHARDS
from clipcli.cli.options.scoring import Scoring, ScoringName, Temperature
from clipcli.cli.options.shards import ShardOptions, TextColumn
from clipcli.cli.options.sorting import SortOptions
from clipcli.cli.output.shapes import SCORED
from clipcli.cli.shell.expand import expand_options
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.answers.classify import ClassifyOptions, TextScorer
    from clipcli.api.model import Model

_EXAMPLE = 'use --text "a rock concert", once or several times'
# Folders take their names from texts; most file systems allow 255 bytes.
_LONGEST_FOLDER_BYTES = 200


class Metric(StrEnum):
    """How well an image fits its caption."""

    cosine = "cosine"
    clipscore = "clipscore"


class PairLayout(StrEnum):
    """Which files scores of pairs are written to."""

    parquet = "parquet"
    datacomp = "datacomp"
    laion = "laion"


@dataclass(frozen=True, slots=True)
class PairOptions:
    """Scores of images against their own captions."""

    pairs: Annotated[
        bool, typer.Option("--pairs", help="Score each image against its own caption.", rich_help_panel=SHARDS)
    ] = False
    text_column: TextColumn = None
    metric: Annotated[
        Metric,
        typer.Option(
            help="Score of a pair: cosine, or clipscore, which is 2.5 * max(cosine, 0).", rich_help_panel=SHARDS
        ),
    ] = Metric.cosine
    score_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the column of scores, instead of the metric's.", rich_help_panel=SHARDS
        ),
    ] = None
    layout: Annotated[
        PairLayout, typer.Option(help="Write files in the layout of another program.", rich_help_panel=SHARDS)
    ] = PairLayout.parquet

    @property
    def given(self) -> list[str]:
        """Options that mean something only beside `--pairs`, as far as they were given."""
        options = {
            "--text-column": self.text_column is not None,
            "--metric": self.metric is not Metric.cosine,
            "--score-column": self.score_column is not None,
            "--layout": self.layout is not PairLayout.parquet,
        }
        return [name for name, is_given in options.items() if is_given]


@expand_options
def score(
    inputs: InputOptions,
    *,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text", "-t", metavar="TEXT", help="Compare images with this text. Repeatable.", rich_help_panel=LABELS
        ),
    ] = None,
    scoring: Scoring = ScoringName.auto,
    temperature: Temperature = None,
    sorting: SortOptions,
    pairs: PairOptions,
    shards: ShardOptions,
    model: ModelOptions,
    output: RunOutputOptions,
) -> None:
    """Compare images with texts, without templates.

    \b
    clip score poster.png --text "a rock concert" --text "a wedding"
    clip score ~/photos --text "a sunset over the sea" --output sunsets.csv
    clip score ~/photos --text "a screenshot" --text "a photo" --sort-into sorted
    clip score --pairs 'data/*.tar' --output scores/
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.answers.classify import ClassifyOptions
    from clipcli.cli.options.conflicts import refuse_conflicts
    from clipcli.cli.output.runner import Runner
    from clipcli.cli.output.sharded import is_sharded, only_files, run_shards

    refuse_conflicts(inputs, sorting, output)
    files = only_files(output, sorting)
    if pairs.pairs:
        _score_pairs(pairs, inputs, shards, model, output, {**files, "--text": text, "--temperature": temperature})
        return
    if pairs.given:
        raise UsageError(f"{pairs.given[0]} needs --pairs", hint="add it, or leave the option out")
    sharded = is_sharded(inputs, output.output, shards, files)
    texts = _checked(text or [])
    if sorting.sort_into is not None:
        _check_folders(texts)
    options = ClassifyOptions(scoring=scoring.value, temperature=temperature)
    question = ScoreQuestion(texts, options)
    if sharded and output.output is not None:
        from clipcli.scale.questions import Ask

        ask = Ask("score", question)
        run_shards(ask, inputs, shards, model, output.output, quiet=output.quiet, no_progress=output.no_progress)
        return
    Runner(question, inputs, model, output, sorting).run()


def _score_pairs(
    pairs: PairOptions,
    inputs: InputOptions,
    shards: ShardOptions,
    model: ModelOptions,
    output: RunOutputOptions,
    only_files: Mapping[str, object],
) -> None:
    """Score each image against its own caption."""
    from clipcli.cli.output.sharded import is_sharded, run_shards
    from clipcli.scale.questions import ScorePairs

    if not is_sharded(inputs, output.output, shards, only_files) or output.output is None:
        raise UsageError("--pairs needs --output FOLDER/ or URI/", hint="add --output scores/ (note the slash)")
    run_shards(
        ScorePairs(pairs.metric.value, pairs.score_column),
        inputs,
        shards,
        model,
        output.output,
        layout=pairs.layout.value,
        text_column=pairs.text_column,
        quiet=output.quiet,
        no_progress=output.no_progress,
    )


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
        from clipcli.api.judges import text_scorer

        self._scorer = text_scorer(model, self._texts, self._options)
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
