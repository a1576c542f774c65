"""Checkpoints in layouts other than the hub's: told apart by what is in them, and turned into the hub's.

One module a layout. A layout's names become the hub's, what the shapes say becomes `config.json`, and what neither the
shapes nor the file say is asked for, never guessed. No code in a file is ever run. Must not import `hub`, `text` or
`images`, nor write files.
"""

from clipcli.models.formats.hub_layout import HubCheckpoint
from clipcli.models.formats.recognise import read_foreign

__all__ = ["HubCheckpoint", "read_foreign"]
