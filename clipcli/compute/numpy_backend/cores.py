"""One piece of work on each core, in place of many cores on each matrix product.

numpy's matrix products share themselves out to all cores and wait for the last one. Products as small as these gain
little by it, several at a time get in each other's way, and beside other programs each wait may last until those give
a core back: measured on two busy cores, an image took 4 s in place of 0.5 s.
"""

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from clipcli.features.pipeline import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

# How the libraries that numpy is linked with call reading and setting their number of threads: that of numpy's own
# wheels, OpenBLAS as others build it, and MKL. Where it is another one, it keeps its habits.
_NAMES = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
)

_lock = threading.Lock()
_inside = 0
_usual = 1


@contextmanager
def single_threaded_products() -> Iterator[None]:
    """Let each matrix product stay on the core that asks for it, in all threads, until the last one leaves."""
    global _inside, _usual
    read, write = _thread_count()
    with _lock:
        if not _inside:
            _usual = read()
            write(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                write(_usual)


@cache
def _thread_count() -> tuple[Callable[[], int], Callable[[int], object]]:
    """What reads and what sets the number of threads of a matrix product."""
    from numpy.linalg import lapack_lite

    linked = ctypes.CDLL(lapack_lite.__file__)  # looks in what it is linked with, too
    for read, write in _NAMES:
        if hasattr(linked, read) and hasattr(linked, write):
            return getattr(linked, read), getattr(linked, write)
    return lambda: 1, lambda count: None


def on_all_cores(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply a function to items, one on each core at a time; the results come in order."""
    cores = available_cores()
    pending: deque[Future[Result]] = deque()
    with single_threaded_products(), ThreadPoolExecutor(cores, thread_name_prefix="numpy") as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > cores:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
