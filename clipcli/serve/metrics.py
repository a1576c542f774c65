"""What the server has done, in the text format of Prometheus (version 0.0.4)."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(slots=True)
class _Histogram:
    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        below = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            shown = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f'{name}_bucket{{{labels}{"," if labels else ""}le="{shown}"}} {below}'
        inside = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{inside} {self.total:.6f}"
        yield f"{name}_count{inside} {below}"


class Metrics:
    """Counts requests and batches. Safe in several threads.

    Args:
        gauges: Values read on request, by name, each with a description and a function.
    """

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]] | None = None) -> None:
        self._gauges = dict(gauges or {})
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, _Histogram] = {}
        self._batches = _Histogram(_SIZES)

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Add a value that is read on request."""
        self._gauges[name] = about, read

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """A request was answered."""
        with self._lock:
            self._requests[endpoint, status] += 1
            self._seconds.setdefault(endpoint, _Histogram(_SECONDS)).add(seconds)

    def batch(self, size: int) -> None:
        """A batch of so many images was encoded."""
        with self._lock:
            self._batches.add(size)

    def text(self) -> str:
        """All metrics, in Prometheus' format."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield "# HELP clipcli_requests_total Requests answered, by endpoint and status."
        yield "# TYPE clipcli_requests_total counter"
        for (endpoint, status), count in sorted(self._requests.items()):
            yield f'clipcli_requests_total{{endpoint="{endpoint}",status="{status}"}} {count}'
        yield "# HELP clipcli_request_seconds Time from a request to its answer."
        yield "# TYPE clipcli_request_seconds histogram"
        for endpoint, histogram in sorted(self._seconds.items()):
            yield from histogram.lines("clipcli_request_seconds", f'endpoint="{endpoint}"')
        yield "# HELP clipcli_batch_images Images of a batch."
        yield "# TYPE clipcli_batch_images histogram"
        yield from self._batches.lines("clipcli_batch_images")
        for name, (about, read) in self._gauges.items():
            yield f"# HELP clipcli_{name} {about}"
            yield f"# TYPE clipcli_{name} gauge"
            yield f"clipcli_{name} {read():g}"
