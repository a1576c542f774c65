"""Image towers on several GPUs, a process each: a single interpreter could not keep them all busy.

The processes are fed with batches of prepared pixels, and answer with features, as pickles through their standard input
and output; a batch travels while the one before is computed. A process that finds its input closed ends, so none
outlives this one, whatever ends it. Not `multiprocessing`: it would run a Python user's script again in each of them,
and Ctrl-C would interrupt them halfway through their start.
"""

import os
import pickle
import subprocess
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import count
from queue import SimpleQueue
from typing import IO, Any, Protocol, cast

from clipcli.errors import ClipError, ClipWarning, DeviceError
from clipcli.features.pipeline import Encoder
from clipcli.images.prepare import Pixels
from clipcli.scoring import Floats


class Opener(Protocol):
    """Opens an encoder in whatever process it is called in."""

    @property
    def device(self) -> str:
        """What errors call the process."""

    def __call__(self) -> Encoder:
        """Open it."""


class ImageProcesses:
    """An encoder for the image pipeline that hands each batch to a process that has room for it."""

    def __init__(self, openers: "Sequence[Opener]") -> None:
        """Start the processes, and wait until they have found their devices; weights are read with the first batch.

        Args:
            openers: One per process; each opens an encoder there, so it must be possible to pickle it.

        Raises:
            ClipError: What a process ended with.
        """
        processes = [_Process(opener) for opener in openers]
        batch_sizes, depths = zip(*(process.receive() for process in processes), strict=True)
        self.batch_size: int = min(batch_sizes)
        self.concurrency: int = sum(depths)
        self._free: SimpleQueue[_Process] = SimpleQueue()
        for depth in range(max(depths)):  # each has one batch before any has two
            for process, room in zip(processes, depths, strict=True):
                if depth < room:
                    self._free.put(process)

    def encode(self, pixels: Pixels, *, alone: bool = True) -> Floats:
        """Encode a batch. Safe in several threads.

        Shapes: pixels (N, S, S, 3) -> (N, P) float32, unit length; with a classification head (N, classes) logits.

        Raises:
            ClipError: What the process ended with.
        """
        process = self._free.get()
        try:
            features, batch_size = process.ask((pixels, alone))
        finally:
            self._free.put(process)  # a dead one too: whoever takes it shall hear so, not wait for ever
        self.batch_size = min(self.batch_size, batch_size)
        return cast(Floats, features)


class _Process:
    """A process, as this one sees it."""

    def __init__(self, opener: "Opener") -> None:
        self._device = opener.device
        # A session of its own, because a terminal sends Ctrl-C to all processes of one.
        command = [sys.executable, "-m", __name__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        weakref.finalize(self, _end, self._process)
        self._sending, self._receiving, self._asking = threading.Lock(), threading.Lock(), threading.Lock()
        self._numbers = count()
        self._asked: dict[int, Future[Any]] = {}  # by `_asking`, as is the next
        self._failure: ClipError | None = None
        self._send(opener)

    def ask(self, request: object) -> Any:
        """Send a request and wait for its answer; safe in several threads, raises as `receive` does."""
        number, answer = self._expect_answer()
        try:
            with self._sending:
                self._send((number, request))
            with self._receiving:
                while not answer.done():
                    self._take_answer()
        except BaseException:  # Ctrl-C in the middle of a message, of which the rest would be taken for another
            self._process.kill()
            raise
        return answer.result()

    def _expect_answer(self) -> tuple[int, Future[Any]]:
        with self._asking:
            if self._failure is not None:
                raise self._failure
            number, answer = next(self._numbers), Future[Any]()
            self._asked[number] = answer
        return number, answer

    def _take_answer(self) -> None:
        """Hand the next answer, whosever it is, to who asked; a failure to all."""
        try:
            number, result = self.receive()
        except ClipError as error:
            with self._asking:
                self._failure = error
                unanswered, self._asked = self._asked, {}
            for answer in unanswered.values():
                answer.set_exception(error)
        else:
            with self._asking:
                answer = self._asked.pop(number)
            answer.set_result(result)

    def receive(self) -> Any:
        """Wait for an answer.

        Raises:
            ClipError: The process ended with it, or without a word.
        """
        try:
            answer = pickle.load(cast(IO[bytes], self._process.stdout))
        except (EOFError, pickle.UnpicklingError):
            raise DeviceError(
                f"the process for {self._device} ended early, with status {self._process.wait()}",
                hint=f"try `device={str(self._device)!r}`, in one process",
            ) from None
        if isinstance(answer, ClipError):
            raise answer
        return answer

    def _send(self, message: object) -> None:
        stdin = cast(IO[bytes], self._process.stdin)
        with suppress(BrokenPipeError):  # `receive` will say why
            pickle.dump(message, stdin, pickle.HIGHEST_PROTOCOL)
            stdin.flush()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(BrokenPipeError):
            cast(IO[bytes], pipe).close()


def _serve(requests: IO[bytes], answers: IO[bytes]) -> int:
    """Answer until nobody asks any more; what such a process does. Gives its exit status."""
    reading, writing = threading.Lock(), threading.Lock()

    def answer(message: object) -> None:
        with writing:
            pickle.dump(message, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()

    def encode_on(encoder: Encoder) -> None:
        while True:
            with reading:
                number, (pixels, alone) = pickle.load(requests)
            answer((number, (encoder.encode(pixels, alone=alone), encoder.batch_size)))

    try:
        encoder = pickle.load(requests)()
        answer((encoder.batch_size, encoder.concurrency))
        pool = ThreadPoolExecutor(encoder.concurrency)
        running = [pool.submit(encode_on, encoder) for _ in range(encoder.concurrency)]
        for ended in wait(running, return_when=FIRST_COMPLETED).done:
            ended.result()
    except (EOFError, pickle.UnpicklingError, BrokenPipeError):
        pass  # the other side has gone, perhaps in the middle of a batch
    except ClipError as error:
        with suppress(BrokenPipeError):
            answer(error)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    warnings.simplefilter("ignore", ClipWarning)  # whoever started this process has given them already
    own_output = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not come between answers
    # Not `sys.exit`: it would wait for threads that wait for requests.
    os._exit(_serve(sys.stdin.buffer, os.fdopen(own_output, "wb")))
