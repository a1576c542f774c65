"""What the Tab key offers as values of options and arguments.

Runs at each press, so it imports what it needs inside the functions, and never torch. What is no candidate falls
through to the shell's own completion of files.
"""

import os
import sys
from collections.abc import Iterator

Candidates = Iterator[str | tuple[str, str]]

_REQUEST = "_CLIP_COMPLETE"
_OF_SCRIPTS = {"--install-completion", "--show-completion"}


def prepare() -> None:
    """Make ready for an answer to the shell, or for its script, if that is what this process was started for.

    Typer takes rich's markup out of the help it shows beside candidates, if rich can be found. Ours has none (brackets
    are brackets), and the import of rich alone would take longer than the rest of the answer.
    """
    if os.environ.get(_REQUEST):
        sys.modules["rich"] = None  # type: ignore[assignment] # Python's own way to say: not there
    elif _OF_SCRIPTS & {*sys.argv[1:]}:
        _answer_the_first_tab_in_zsh()


def _answer_the_first_tab_in_zsh() -> None:
    """Let the script answer when zsh loads it, at the first Tab of a session; Typer's only registers itself then."""
    from typer._completion_shared import _completion_scripts

    _completion_scripts["zsh"] += '[[ $zsh_eval_context[-1] == loadautofunc ]] && %(complete_func)s "$@"\n'


def models() -> Candidates:
    """Aliases of published models, the bundled one, and what else is on this machine."""
    from clipcli import hub

    for row in hub.CHECKPOINTS:
        yield row.alias, f"{row.hub_id} ({', '.join(row.languages[:2])})"
    yield hub.DEMO, "the bundled model"
    yield from ((model.hub_id, f"{model.family}, on this machine") for model in hub.stored_models())


def stored_models() -> Candidates:
    """What can be removed: the models on this machine."""
    from clipcli import hub

    for model in hub.stored_models():
        row = hub.find_checkpoint(model.hub_id)
        if row is not None:
            yield row.alias, row.hub_id
        yield model.hub_id, model.family


def label_sets() -> Candidates:
    """Names of label sets, the user's own among them."""
    from clipcli.labels.library import list_label_sets

    for entry in list_label_sets():
        yield entry.name, "built in" if entry.built_in else "yours"


def templates() -> Candidates:
    """Names of template files."""
    from clipcli.labels.library import list_templates

    for entry in list_templates():
        yield entry.name, "built in" if entry.built_in else "yours"


def label_files() -> Candidates:
    """Whatever `clip labels check` finds by name."""
    yield from label_sets()
    yield from templates()


def devices() -> Candidates:
    """Kinds of devices. Which of them are here only torch knows, and it takes seconds to ask."""
    yield "auto", "the first GPU, else the CPU"
    yield "cpu", "always there"
    yield "cuda", "NVIDIA or AMD; cuda:1 is the second, cuda:all every one"
    yield "mps", "Apple"


def dtypes() -> Candidates:
    """Number formats."""
    from clipcli.compute.devices import DTYPES

    yield from DTYPES
