"""What tests ask of errors besides their class: never their wording, which stands in `tests/data/messages.txt`."""

from collections.abc import Callable

from clipcli.errors import ClipError


def about(parameter: str) -> Callable[[ClipError], bool]:
    """For `pytest.raises(..., check=about("top"))`: the error is of that parameter."""
    return lambda error: error.parameter == parameter
