"""Settings of a server: address, access, and limits."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from clipcli.errors import UsageError

DEFAULT_PORT = 7722
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve.

    Attributes:
        host: The address to listen on; a name of this machine, or an IP address.
        port: The port; 0 for any that is free.
        key: What clients must send as `Authorization: Bearer KEY`.
        open_to_all: Allow other hosts than this machine without a key.
        allowed_hosts: Names by which clients may call this server, besides its own and IP addresses.
        origins: Origins of other sites whose web pages may send requests.
        max_upload_mb: The largest size of a request, in megabytes.
        max_images: The largest number of images in a request.
        max_waiting: The largest number of images that wait or are computed at a time.
        body_timeout_s: Seconds that a request's body may take to arrive.
        served_model_names: Names of the model for OpenAI's clients, besides its own.
        immich_upstream: Address of Immich's own machine learning, for tasks other than CLIP.
        upstream_timeout_s: Seconds that it may take to answer; Immich itself waits 300.

    Raises:
        UsageError: A value is out of range, or another host is to be served without a key.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    key: str | None = None
    open_to_all: bool = False
    allowed_hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_upload_mb: float = 32
    max_images: int = 64
    max_waiting: int = 256
    body_timeout_s: float = 60
    served_model_names: tuple[str, ...] = ()
    immich_upstream: str | None = None
    upstream_timeout_s: float = 290

    def __post_init__(self) -> None:
        """Check that the settings are valid together."""
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port must be between 0 and 65535, not {self.port}", parameter="port", value=self.port)
        for name in ("max_upload_mb", "max_waiting"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be a number above 0", parameter=name, value=getattr(self, name))
        if not self.is_loopback and self.key is None and not self.open_to_all:
            raise UsageError(
                f"host {self.host} can be reached from other machines, so a key is needed",
                hint="use `api_key_file=FILE`, or `no_api_key=True` where everyone who can reach it may use it",
                parameter="host",
                value=self.host,
            )
        for origin in self.origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or "*" in origin:
                raise UsageError(f"cors {origin} is not an origin", hint="use scheme and host: https://example.org")
        upstream = self.immich_upstream
        if upstream is not None and not _is_address(upstream):
            raise UsageError(f"immich_upstream {upstream} is not an address", hint="as in http://localhost:3003")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host.lower() in _LOOPBACK_NAMES

    @property
    def max_upload_bytes(self) -> int:
        """The largest size of a request, in bytes."""
        return int(self.max_upload_mb * 1e6)

    def allows_host(self, header: str) -> bool:
        """Whether a `Host` header names this server.

        A page of another site can make a browser send requests under the site's own name that resolves to this server
        (DNS rebinding), but not under an IP address.
        """
        try:
            name = urlsplit(f"//{header}").hostname or ""
            _ = urlsplit(f"//{header}").port
        except ValueError:
            return False
        if not header or any(character in header for character in "/?#@\\ "):
            return False
        if name in {known.lower() for known in (*_LOOPBACK_NAMES, self.host, *self.allowed_hosts)}:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether a page of an origin may send requests: this server's own, or one that was allowed."""
        return origin in self.origins or urlsplit(origin).netloc.lower() == host.lower()


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
