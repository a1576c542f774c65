"""Help pages with the options in their groups, as plain text.

Typer can do this by itself with rich, whose Markdown reader alone takes as long to import as everything else that
`clip --help` needs. Imports neither rich nor any room.
"""

from typing import Any

from typer.core import TyperCommand

_OTHERS = "Options"


class GroupedCommand(TyperCommand):
    """A command whose help lists each parameter under its `rich_help_panel`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section a group, in the order in which the groups first appear, what has no group last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                # Arguments come with their Python type ("IMAGE <list[str]>"), which tells a user nothing.
                name = record[0].partition(" ")[0] if parameter.param_type_name == "argument" else record[0]
                group = getattr(parameter, "rich_help_panel", None) or _OTHERS
                sections.setdefault(group, []).append((name, record[1]))
        for title in sorted(sections, key=lambda title: title == _OTHERS):
            with formatter.section(title):
                formatter.write_dl(sections[title])
