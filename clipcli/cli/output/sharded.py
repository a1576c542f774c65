"""Runs over shards: from options to a run's folder, with how far it is, and the exit status."""

import glob
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from clipcli.cli.options.inputs import InputOptions
from clipcli.cli.options.model import ModelOptions
from clipcli.cli.options.output import RunOutputOptions, names_folder
from clipcli.cli.options.shards import ShardOptions
from clipcli.cli.options.sorting import SortOptions
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.run_progress import RunProgress, duration, run_progress
from clipcli.cli.shell.wording import counted
from clipcli.errors import ClipWarning, ExitStatus, UsageError

if TYPE_CHECKING:
    from clipcli.api.model import Model
    from clipcli.scale.questions import ScaleQuestion
    from clipcli.scale.run import Engine, Outcome
    from clipcli.scale.worker import Report

_SHOWN_FAILURES = 5
_LONG_S = 60


def is_sharded(
    inputs: InputOptions, output: str | None, shards: ShardOptions, only_files: Mapping[str, object]
) -> bool:
    """Whether a command is a run over shards: its output is a folder.

    Args:
        inputs: What is read.
        output: Where results go.
        shards: Options that only such a run has.
        only_files: Options that such a run does not have, by name; true where they were given.

    Raises:
        UsageError: Something else is, and the output is not; or options do not go together.
    """
    from clipcli.scale.inputs.kinds import kind_of, refuse_packed

    for path in inputs.images or []:
        refuse_packed(path)
    if names_folder(output):
        given = next((name for name, value in only_files.items() if value), None)
        if given is not None:
            raise UsageError(
                f"{given} does not go with --output {output}, a folder with one file per shard",
                hint=f"leave {given} out, or give --output FILE",
            )
        return True
    shard = next((path for path in inputs.images or [] if kind_of(path) is not None), None)
    what = [*([shard] if shard is not None else []), *shards.given]
    if what:
        raise UsageError(
            f"{what[0]} needs --output FOLDER/ or URI/: one file per shard is written there",
            hint="add a folder that ends in a slash, such as --output results/",
        )
    return False


def only_files(output: RunOutputOptions, sorting: SortOptions) -> dict[str, object]:
    """Options of a run over images that a run over shards does not have; true where they were given."""
    return {
        "--format": output.format.value != "auto",
        "--json": output.json,
        "--report": output.report,
        "--spreadsheet": output.spreadsheet,
        "--fail-fast": output.fail_fast,
        "--sort-into": sorting.sort_into,
    }


def run_shards(
    question: "ScaleQuestion",
    inputs: InputOptions,
    shards: ShardOptions,
    model: ModelOptions,
    output: str,
    *,
    layout: str = "parquet",
    text_column: str | None = None,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Answer a question for all shards.

    Raises:
        typer.Exit: With `PARTIAL` if an image failed, a shard was given up, or some were added since the run began.
    """
    from clipcli.cli.output.destination import check_folder
    from clipcli.scale.run import Plan, Share, run
    from clipcli.scale.stores import is_uri

    if not is_uri(output):
        check_folder(output, "--output")
    named, images = _parted(inputs)
    plan = Plan(
        question,
        named,
        images,
        output,
        shards.columns(text_column),
        layout,
        shards.rows_per_shard,
        shards.tries,
        shards.retry_failed,
        _named(inputs),
    )
    share = Share() if shards.shards is None else Share.parse(shards.shards)
    with run_progress(shown=not (quiet or no_progress)) as progress:
        engine = replace(model, no_cache=True).open(inputs, quiet=quiet, bars=not no_progress, progress=progress)
        progress.images(0, None)
        started = time.monotonic()
        watcher = _Watcher(progress, quiet=quiet)
        outcome = run(plan, engine, share, _engine(shards.ray, engine), watcher)
    if not quiet:
        _say_summary(outcome, output, time.monotonic() - started, is_share=share.of > 1, told=watcher.told)
    if outcome.failed or outcome.left_out or outcome.counts.ok < outcome.counts.rows:
        raise typer.Exit(ExitStatus.PARTIAL)


def _engine(ray: str | None, model: "Model") -> "Engine":
    """What runs the workers: a cluster, or this process."""
    if ray is not None:
        from clipcli.scale.on_ray import OnRay

        return OnRay(ray)
    from clipcli.scale.run import InProcess

    return InProcess(model)


class _Watcher:
    """Shows how far a run is, and what goes wrong."""

    def __init__(self, progress: RunProgress, *, quiet: bool) -> None:
        self._progress, self._quiet = progress, quiet
        self.told: set[str] = set()

    def rows(self, count: int) -> None:
        self._progress.advance(count)

    def shard(self, report: "Report") -> None:
        if report.error is not None and not self._quiet:
            self.told.add(report.shard)
            with self._progress.writing():
                ends = "is tried again" if report.state == "again" else "was given up"
                warnings.warn(f"shard {report.shard} {ends}: {report.error}", ClipWarning, stacklevel=2)


def _parted(inputs: InputOptions) -> tuple[list[str], Iterator[str]]:
    """Shards by their names, and the paths of single images."""
    from clipcli.images.find import images_of
    from clipcli.scale.inputs.divide import images_under
    from clipcli.scale.inputs.kinds import kind_of
    from clipcli.scale.stores import is_uri

    given = inputs.images or []
    if "-" in given:
        raise UsageError("an image on standard input is not part of a dataset", hint="name files, folders or shards")
    shards = [path for path in given if kind_of(path) is not None]
    others = [path for path in given if kind_of(path) is None]
    local, remote = [path for path in others if not is_uri(path)], [path for path in others if is_uri(path)]
    for folder in filter(os.path.isdir, local):
        _warn_of_shards_in(folder)

    def images() -> Iterator[str]:
        if local or inputs.from_file is not None or not given:
            yield from (source.path for source in images_of(replace(inputs, images=local).sources()))
        for path in remote:
            yield from images_under(path)

    return shards, images()


def _warn_of_shards_in(folder: str) -> None:
    """Say that a folder stands for its images, where tars or Parquet files lie in it."""
    from clipcli.scale.inputs.kinds import kind_of

    inside = glob.glob("*", root_dir=folder)  # nothing where the folder cannot be read, which is said elsewhere
    names = sorted(name for name in inside if kind_of(name) in ("tar", "parquet"))
    if names:
        pattern = os.path.join(folder, f"*{os.path.splitext(names[0])[1]}")
        warnings.warn(
            f"{folder}: only images are taken from a folder, and {counted(len(names), 'shard')} in it left out; "
            f"name shards themselves: '{pattern}'",
            ClipWarning,
            stacklevel=2,
        )


def _named(inputs: InputOptions) -> list[str]:
    """What was typed for the inputs, so that the same words in another folder are other inputs."""
    from clipcli.scale.stores import is_uri

    def whole(path: str) -> str:
        return path if is_uri(path) else os.path.abspath(os.path.expanduser(path))

    list_file = inputs.from_file
    lists = [] if list_file is None else [f"list {list_file if list_file == '-' else whole(list_file)}"]
    return [*map(whole, inputs.images or []), *lists]


def _say_summary(outcome: "Outcome", output: str, seconds: float, *, is_share: bool, told: set[str]) -> None:
    counts = outcome.counts
    parts = [f"{counted(outcome.done, 'shard')} with {counted(counts.rows, 'image')} in {_time(seconds)}"]
    if counts.rows:
        parts.append(f"{counts.rows / max(seconds, 1e-9):.1f}/s")
    if outcome.before:
        parts.append(f"{outcome.before:,} of {outcome.shards:,} shards finished before")
    if outcome.lost:
        parts.append(f"{outcome.lost:,} of them again, as their output was gone")
    if counts.cut:
        parts.append(f"{counted(counts.cut, 'caption')} cut")
    say(", ".join(parts))
    if counts.errors:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.errors.items())
        say(f"{counted(sum(counts.errors.values()), 'image')} failed: {kinds}; the rows say why")
    if outcome.left_out:
        _say_left_out(outcome.left_out)
    if outcome.failed:
        _say_failed({shard: error for shard, error in outcome.failed.items() if shard not in told})
        say(
            f"{counted(len(outcome.failed), 'shard')} of {outcome.shards:,} given up",
            hint="when the cause is fixed, run the same command with --retry-failed",
        )
    elif outcome.is_whole:
        say(f"{'the shard is' if outcome.shards == 1 else f'all {outcome.shards:,} shards are'} done: {output}")
    elif is_share:
        say("this share is done; others are not finished")


def _say_failed(failed: Mapping[str, str]) -> None:
    for shard, error in list(failed.items())[:_SHOWN_FAILURES]:
        warnings.warn(f"shard {shard} was given up: {error}", ClipWarning, stacklevel=2)


def _say_left_out(names: Sequence[str]) -> None:
    more = f" and {len(names) - _SHOWN_FAILURES:,} more" if len(names) > _SHOWN_FAILURES else ""
    warnings.warn(
        f"{counted(len(names), 'input')} added since this run was begun and not in it: "
        f"{', '.join(names[:_SHOWN_FAILURES])}{more}; run over them with another --output folder",
        ClipWarning,
        stacklevel=2,
    )


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _LONG_S else duration(seconds)
