"""Commands that are imported when somebody asks for them: to read the options of all takes longer than an answer."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.main import get_command, get_group

from clipcli.cli.shell.boundary import reported
from clipcli.cli.shell.help import GroupedCommand


class LazyCommands(MutableMapping[str, Any]):
    """Commands by name, in the order of their groups.

    Args:
        package: Where their modules are.
        groups: For each group `module.function` by the command's name; or `module.application` of a Typer application.
    """

    def __init__(self, package: str, groups: Mapping[str, Mapping[str, str]]) -> None:
        self._package = package
        self._places = {name: (group, place) for group, named in groups.items() for name, place in named.items()}
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Import a command, the first time that it is asked for."""
        if name not in self._made:
            self._made[name] = self._make(name, *self._places[name])
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is such a command, which imports nothing."""
        return name in self._places or name in self._made

    def __setitem__(self, name: str, command: Any) -> None:
        """Take a command that Typer made."""
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        """Forget a command."""
        self._places.pop(name, None)
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        """The names, which imports nothing."""
        return iter(dict.fromkeys((*self._places, *self._made)))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def _make(self, name: str, group: str, place: str) -> Any:
        module, _, attribute = place.partition(".")
        with reported():  # Ctrl-C, or a compiled file that is cut short
            found = getattr(import_module(f"{self._package}.{module}"), attribute)
        if isinstance(found, typer.Typer):
            command: Any = get_group(found)
            command.name = name
        else:
            alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
            alone.command(name, cls=GroupedCommand)(found)
            command = get_command(alone)
        command.rich_help_panel = group
        return command
