"""Zero-shot vision on the command line and from Python: CLIP, Chinese-CLIP and AltCLIP.

`import clipcli` is cheap: `clipcli.load` brings in what it needs when it is called. The folders here are rooms that
import downwards only; CONTRIBUTING.md has their plan, and the way of a picture through them.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load"]

if TYPE_CHECKING:
    from clipcli.runtime.engine import Model, load


def __getattr__(name: str) -> Any:
    if name in ("Model", "load"):
        from clipcli.runtime import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
