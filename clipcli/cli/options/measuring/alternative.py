"""`--compare OPTIONS`: the same command with some options changed."""

import shlex
from argparse import SUPPRESS, ArgumentParser
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn

from clipcli.cli.options.labels import LabelOptions
from clipcli.cli.options.measuring.labelled import LabelledOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.errors import UsageError

# Options of which only one can be given: one of them takes the place of the others.
_INSTEAD: dict[tuple[str, str], tuple[object, object]] = {
    ("labels", "label_set"): (None, None),
    ("template", "no_template"): (None, False),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One of the things that are compared.

    Attributes:
        name: What people call it.
        labels: Which labels, in which prompts.
        model: Which model.
        reading: How images are read.
        temperature: Divides the logits.
    """

    name: str
    labels: LabelOptions
    model: ModelOptions
    reading: LabelledOptions
    temperature: float | None

    def features_are_those_of(self, other: "Setting") -> bool:
        """Whether the images need not be encoded again."""
        return (self.model, self.reading) == (other.model, other.reading)

    def changed(self, text: str) -> "Setting":
        """The same with other options.

        Raises:
            UsageError: They cannot be read, or cannot be compared.
        """
        given = _parse(text)
        labels = _of(LabelOptions, given)
        for names, nothing in _INSTEAD.items():
            if any(name in given for name in names):
                labels = {**dict(zip(names, nothing, strict=True)), **labels}
        return Setting(
            text.strip(),
            replace(self.labels, **labels),
            replace(self.model, **_of(ModelOptions, given)),
            replace(self.reading, **_of(LabelledOptions, given)),
            given.get("temperature", self.temperature),
        )


class _Parser(ArgumentParser):
    """Says what is wrong instead of ending the program."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(
            f"--compare: {message}",
            hint="it takes --model, --revision, --dtype, --labels, --label-set, --template, --no-template, "
            "--examples, --temperature, --exact-decode and --no-exif, all in one text",
        )


def _parse(text: str) -> dict[str, Any]:
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=SUPPRESS)
    for flags in (["--model", "-m"], ["--revision"], ["--dtype"]):
        parser.add_argument(*flags)
    for flags in (["--labels", "-l"], ["--label-set", "-s"], ["--template", "-t"]):
        parser.add_argument(*flags, action="append")
    for flag in ("--no-template", "--exact-decode", "--no-exif"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--examples")
    parser.add_argument("--temperature", type=float)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--compare {text!r}: {error}", hint="quote it as in \"--template 'a {}'\"") from error
    if not words:
        raise UsageError("--compare names no option", hint='for example --compare "--template photo-7"')
    return vars(parser.parse_args(words))


def _of(group: type[LabelOptions | ModelOptions | LabelledOptions], given: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(group)}
    return {name: value for name, value in given.items() if name in names}
