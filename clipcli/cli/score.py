"""`clip score`: how well each text fits each picture."""

from typing import Annotated

import typer

from clipcli.cli.boundary import handles_errors
from clipcli.cli.options import (
    LABELS,
    SCORING,
    InputOptions,
    ModelOptions,
    OutputOptions,
    ScoringName,
    expand_options,
)
from clipcli.cli.run import describe_run, print_results
from clipcli.errors import UsageError


@handles_errors
@expand_options
def score(
    inputs: InputOptions,
    model: ModelOptions,
    output: OutputOptions,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", metavar="TEXT", help="A text to compare. Repeatable.", rich_help_panel=LABELS),
    ] = None,
    scoring: Annotated[ScoringName, typer.Option(help="What score is.", rich_help_panel=SCORING)] = ScoringName.softmax,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="Above 1 flattens the scores.", rich_help_panel=SCORING)
    ] = 1.0,
) -> None:
    r"""Compare pictures with whole texts, used as they are.

    \b
    clip score poster.png --text "a rock concert" --text "a wedding"
    clip score ~/photos --text "a sunset over the sea" | jq -r '[.scores[0].cosine, .path] | @tsv' | sort -rn
    """
    from clipcli.runtime.classifier import ClassifyOptions

    if not text:
        raise UsageError("no text is given", hint='use --text "a rock concert", once or several times')
    if len(set(text)) < len(text):
        raise UsageError("the same --text is given twice", hint="give each text once")
    if not all(entry.strip() for entry in text):
        raise UsageError("a --text is empty")
    options = ClassifyOptions(scoring=scoring.value, temperature=temperature)
    sources = inputs.sources()
    engine = model.open(inputs, quiet=output.quiet)
    run = describe_run(engine, label_set=None, labels=list(text), templates=None)
    print_results("clipcli.score/1", run, engine.iter_score(sources, text, options), output)
