"""How much memory the images of a process take together, however many threads decode them.

Every image asks for what its decoding will take before it begins, and waits until the others leave room. Requests are
served in the order in which they come, so a large image is not overtaken for ever by small ones.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """Bytes that may be in use at a time. Threads that need more than is left wait their turn."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes in use now."""
        return self._used

    @property
    def waiting(self) -> int:
        """Threads that wait for their turn."""
        return len(self._waiting)

    @contextmanager
    def lease(self) -> Iterator["Lease"]:
        """Hold memory until the block ends."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            with self._changed:
                self._used -= lease.held
                self._changed.notify_all()

    def take(self, amount: int, limit: int) -> None:
        """Wait until an amount fits under a limit together with all that is in use, or nothing else is."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and (not self._used or self._used + amount <= limit)
                )
                self._used += amount
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()


class Lease:
    """What one image holds of a budget."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.held = 0

    def take(self, amount: int, limit: int) -> None:
        """Wait for bytes. Once per lease: who waits must not hold what others wait for.

        Raises:
            RuntimeError: It was asked twice.
        """
        if self.held:
            raise RuntimeError("a lease is taken once")
        self._budget.take(amount, limit)
        self.held = amount


# Memory is the process's, whatever number of models is open.
BUDGET = MemoryBudget()
