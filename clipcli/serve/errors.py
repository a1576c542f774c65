"""Errors of requests, each with its HTTP status."""

from clipcli.errors import ClipError


class ServeError(ClipError):
    """A request that cannot be answered.

    Args:
        message: What is wrong.
        hint: What to do next.
        status: Of the answer, in place of the usual one.
        parameter: The field of the request that is wrong.
    """

    usual_status = 400

    def __init__(
        self, message: str, hint: str | None = None, *, status: int | None = None, parameter: str | None = None
    ) -> None:
        super().__init__(message, hint, parameter=parameter)
        self.status = self.usual_status if status is None else status


class BadRequest(ServeError):
    """A request that is not valid, or not allowed."""


class UnknownModel(ServeError):
    """A model that is not served."""

    usual_status = 404


class Full(ServeError):
    """Too many requests are waiting already."""

    usual_status = 429
    usual_hint = "try again later, or start the server with a larger `max_waiting`"


class Stopping(ServeError):
    """The server is being stopped."""

    usual_status = 503


class LibraryUnavailable(ServeError):
    """The library cannot be read just now, or was replaced by one of another model."""

    usual_status = 503


class UpstreamError(ServeError):
    """Another server that was asked did not answer."""

    usual_status = 502
