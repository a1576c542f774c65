"""`clip score`: how well each text fits each image."""

from typing import Annotated

import typer

from clipcli.cli.options import (
    LABELS,
    InputOptions,
    ModelOptions,
    OutputOptions,
    Scoring,
    ScoringName,
    Temperature,
    expand_options,
)
from clipcli.cli.output.runner import describe_run, print_results
from clipcli.cli.shell.boundary import handles_errors
from clipcli.errors import UsageError


@handles_errors
@expand_options
def score(
    inputs: InputOptions,
    *,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", metavar="TEXT", help="A text to compare. Repeatable.", rich_help_panel=LABELS),
    ] = None,
    scoring: Scoring = ScoringName.auto,
    temperature: Temperature = 1.0,
    model: ModelOptions,
    output: OutputOptions,
) -> None:
    """Compare images with whole texts, used as they are.

    \b
    clip score poster.png --text "a rock concert" --text "a wedding"
    clip score ~/photos --text "a sunset over the sea" --format csv
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.answers.classify import ClassifyOptions
    from clipcli.api.questions import answer

    options = ClassifyOptions(scoring=scoring.value, temperature=temperature)
    texts = _checked(text or [])
    sources = inputs.sources()
    engine = model.open(inputs, quiet=output.quiet, bars=not output.no_progress)
    images = engine.image_features(sources)
    scorer = engine.text_scorer(texts, options)
    run = describe_run(engine, label_set=None, labels=texts, templates=None, scoring=scorer.scoring)
    print_results("clipcli.score/2", run, answer(images, scorer), output)


_EXAMPLE = 'use --text "a rock concert", once or several times'


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
