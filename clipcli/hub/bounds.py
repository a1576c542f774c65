"""Bounds on what a server may send and make us wait: bytes, slowness, and how long it asks us to stay away.

Imported inside functions only, because the HTTP client takes a while to import.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

# The largest listing of a published model has some hundred kB, the largest page of an error some ten.
LARGEST_LISTING = 32 * 2**20
LARGEST_ERROR = 64 * 2**10
# Slower than the first modems is a server that only wants to be waited for.
LEAST_BYTES_PER_S = 1000
PATIENCE_S = 30.0
# A page (a listing, an error) comes whole, and even the largest in seconds.
LONGEST_PAGE_S = 120.0
LONGEST_WAIT_S = 60.0
_TRIES = 6
_RETRIED = (408, 429, 500, 502, 503, 504)


class _Bounded(httpx2.SyncByteStream):
    """A body that ends after so many bytes, and is given up where it only trickles or takes too long."""

    def __init__(self, stream: Any, most: int, longest_s: float) -> None:
        self._stream, self._most, self._longest_s = stream, most, longest_s

    def __iter__(self) -> Iterator[bytes]:
        """Yield what comes, as raw bytes.

        Raises:
            httpx2.ReadTimeout: It comes too slowly.
        """
        began, received = time.monotonic(), 0
        for piece in self._stream:
            yield piece[: self._most - received]
            received += len(piece)
            waited = time.monotonic() - began
            if received >= self._most:
                return
            if waited > self._longest_s or (waited > PATIENCE_S and received < waited * LEAST_BYTES_PER_S):
                raise httpx2.ReadTimeout(f"only {received:,} bytes came in {waited:.0f} seconds")

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()


@contextmanager
def bounded_stream(url: str, *, most: int, longest_s: float = math.inf, **options: Any) -> Iterator[httpx2.Response]:
    """Ask for a page or a file through huggingface_hub's session, and again where the server asks for that.

    Args:
        url: What to get.
        most: Bytes after which the body ends.
        longest_s: Seconds after which it is given up, however fast it comes.
        options: As httpx2 takes them.

    Yields:
        A response without an error, its body not yet read.

    Raises:
        huggingface_hub.errors.HfHubHTTPError: The server refuses.
        httpx2.TransportError: The connection breaks, or the server is too slow.
    """
    from huggingface_hub.utils import http_stream_backoff

    wait_s = 1.0
    for attempt in range(_TRIES):
        with http_stream_backoff("GET", url, retry_on_exceptions=(), retry_on_status_codes=(), **options) as response:
            bounds = (LARGEST_ERROR, LONGEST_PAGE_S) if response.is_error else (most, longest_s)
            response.stream = _Bounded(response.stream, *bounds)
            asked_s = _retry_after(response)
            if response.status_code not in _RETRIED or attempt == _TRIES - 1 or asked_s > LONGEST_WAIT_S:
                _raise_for_status(response)
                yield response
                return
        time.sleep(max(asked_s, wait_s))
        wait_s *= 2


def _raise_for_status(response: httpx2.Response) -> None:
    """Raise what huggingface_hub makes of a refusal, also where it stumbles over the page that comes with it."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import hf_raise_for_status

    try:
        hf_raise_for_status(response)
    except (HfHubHTTPError, httpx2.TransportError):
        raise
    except Exception as error:  # it takes the server's word for what is in the page
        raise HfHubHTTPError(f"HTTP {response.status_code}", response=response) from error


def _retry_after(response: httpx2.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
