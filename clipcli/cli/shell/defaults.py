"""Defaults of the user's own, from `config.toml`: for every run at its top level, for some runs under `[profile.NAME]`.

    model = "vit-b16"
    device = "cuda"

    [profile.chinese]
    model = "chinese-b16"

An option takes its value from, in this order: the command line, its `CLIPCLI_` variable, the profile, the top level of
the file, the program. Keys are options as they are typed, without the dashes.
"""

import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any

import typer

from clipcli.errors import UsageError
from clipcli.settings import config_file, read_settings

PROFILES = "profile"
PROGRAM = "the program"
# How a run goes; where its results go, and which state of one model it takes, belongs to that run alone.
_OPTIONS = frozenset(
    (
        *("model", "device", "dtype", "batch_size", "workers", "offline", "no_cache", "text_cleaning"),
        *("format", "quiet", "no_progress", "fail_fast", "spreadsheet"),
    )
)


@dataclass(frozen=True, slots=True)
class Default:
    """What an option is where nothing is typed.

    Attributes:
        option: As it is typed, without the dashes.
        value: None where the program decides when it runs.
        origin: A variable, `profile NAME`, the settings' file, or `the program`.
    """

    option: str
    value: str | int | float | None
    origin: str


def use_defaults(ctx: typer.Context, profile: str | None = None) -> None:
    """Give a command the defaults that the user's settings have for its options.

    A choice that other commands have and this one has not, as the format of a file, is left alone.

    Raises:
        UsageError: The settings hold what is not an option, or have no such profile.
        ClipError: They cannot be read.
    """
    settings = read_settings()
    if profile is None and not settings:
        return
    given = defaults(settings, profile, _choices(ctx.find_root().command))
    mine = {_key(option): option for option in _own_options(ctx.command)}
    ctx.default_map = {
        str(option.name): given[key]
        for key, option in mine.items()
        if key in given and (not _values(option) or given[key] in _values(option))
    }


def heed_what_is_typed(ctx: typer.Context) -> None:
    """Leave the format of the settings out where what is typed says which: `--json`, `--print0` or `--output a.csv`."""
    source = ctx.get_parameter_source("format")
    if source is not None and source.name == "DEFAULT_MAP" and any(map(ctx.params.get, ("json", "print0", "output"))):
        ctx.params["format"] = next(option.default for option in _own_options(ctx.command) if option.name == "format")


def profile_callback(ctx: typer.Context, profile: str | None) -> str | None:
    """Apply a profile before the other options are read.

    Raises:
        typer.Exit: The settings have no such profile.
    """
    if profile is not None and not ctx.resilient_parsing:
        from clipcli.cli.shell.boundary import reported  # which imports the options that import this module

        with reported(ctx):
            use_defaults(ctx, profile)
    return profile


def all_defaults(root: Any, profile: str | None) -> list[Default]:
    """Every option that can have a default in the settings, with the value it has now and where that comes from.

    Raises:
        UsageError: See `defaults`.
        ClipError: The settings cannot be read.
    """
    settings = read_settings()
    given = defaults(settings, profile, _choices(root))
    chosen = settings.get(PROFILES, {}).get(profile, {})
    options = {_key(option): option for option in reversed([*_all_options(root)])}
    found = []
    for key, option in sorted(options.items()):
        variable = option.envvar if isinstance(option.envvar, str) else ""
        if os.environ.get(variable):
            found.append(Default(key, os.environ[variable], variable))
        elif key in given:
            found.append(Default(key, given[key], f"profile {profile}" if key in chosen else str(config_file())))
        else:
            found.append(Default(key, getattr(option.default, "value", option.default), PROGRAM))
    return found


def defaults(settings: Mapping[str, Any], profile: str | None, choices: Mapping[str, Set[str]]) -> dict[str, Any]:
    """The defaults that settings hold, those of the profile before those of all runs.

    Args:
        settings: The file's content.
        profile: Which; None for none.
        choices: Options that can have a default, as they are typed, with their values; without any, all are right.

    Raises:
        UsageError: A key is not an option, a value is not valid for its option, or the profile does not exist.
    """
    profiles = settings.get(PROFILES, {})
    if not isinstance(profiles, dict) or not all(isinstance(table, dict) for table in profiles.values()):
        raise UsageError(f"{config_file()}: {PROFILES} must be tables", hint=f"put [{PROFILES}.work] on a line")
    common = {key: value for key, value in settings.items() if key != PROFILES}
    for table in (common, *profiles.values()):
        _check(table, choices)
    if profile is None:
        return common
    if profile not in profiles:
        there = f"there are: {', '.join(profiles)}" if profiles else f"{config_file()} has no [{PROFILES}.{profile}]"
        raise UsageError(f"`profile={profile}`: no such profile", there, parameter="profile", value=profile)
    return {**common, **profiles[profile]}


def _check(table: Mapping[str, Any], choices: Mapping[str, Set[str]]) -> None:
    for key, value in table.items():
        if key not in choices:
            nearest = get_close_matches(key, choices, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(sorted(choices))}"
            raise UsageError(f"{config_file()}: {key} is not an option that can have a default", hint=hint)
        if not isinstance(value, str | int):
            raise UsageError(f"{config_file()}: {key} must be a text, a number, true or false", hint=f'{key} = "..."')
        if choices[key] and value not in choices[key]:
            raise UsageError(
                f"{config_file()}: {key} cannot be {value}", hint=f"use one of {', '.join(sorted(choices[key]))}"
            )


def _choices(root: Any) -> dict[str, set[str]]:
    """The options of all commands that may have a default, each with the values of all that have it."""
    found: dict[str, set[str]] = {}
    for option in _all_options(root):
        found.setdefault(_key(option), set()).update(_values(option))
    return found


def _all_options(root: Any) -> Iterator[Any]:
    yield from _own_options(root)
    for command in getattr(root, "commands", {}).values():
        yield from _all_options(command)


def _own_options(command: Any) -> Iterator[Any]:
    return (each for each in command.params if each.param_type_name == "option" and each.name in _OPTIONS)


def _values(option: Any) -> set[str]:
    """What an option of a few choices takes; nothing for others."""
    return {str(choice.value) for choice in type(option.default)} if isinstance(option.default, Enum) else set()


def _key(option: Any) -> str:
    return str(max(option.opts, key=len)).removeprefix("--")
