"""Image towers on several GPUs, a process each: a single interpreter could not keep them all busy.

The processes are fed with batches of prepared pixels, and answer with features, as pickles through their standard input
and output. One that finds its input closed ends, so none outlives this process, whatever ends it. Not
`multiprocessing`: it would run a Python user's script again in each of them, and Ctrl-C would interrupt them halfway
through their start. Imports torch only in those processes.
"""

import os
import pickle
import subprocess
import sys
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, cast

from clipcli import hub
from clipcli.errors import ClipError, ClipWarning, DeviceError
from clipcli.runtime.image_pipeline import Pixels
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.runtime.parts import RunOptions


class ImageProcesses:
    """An encoder for the image pipeline that hands each batch to a process that is free."""

    def __init__(self, files: hub.ModelFiles, options: "Sequence[RunOptions]") -> None:
        """Start the processes, and wait until they have found their devices; weights are read with the first batch.

        Args:
            files: The checkpoint.
            options: How each process is to run it; they differ in the device.

        Raises:
            ClipError: What a process ended with.
        """
        processes = [_Process(files, chosen) for chosen in options]
        self.concurrency = len(processes)
        self.batch_size: int = min(process.receive() for process in processes)
        self._free: SimpleQueue[_Process] = SimpleQueue()
        for process in processes:
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

    def __init__(self, files: hub.ModelFiles, options: "RunOptions") -> None:
        """Start it; `receive` then gives the size of its batches."""
        self._device = options.device
        # A session of its own, because a terminal sends Ctrl-C to all processes of one.
        command = [sys.executable, "-m", __name__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        weakref.finalize(self, _end, self._process)
        self._is_asked = False
        self._send((files, options))

    def ask(self, request: object) -> Any:
        """Send a request and wait for the answer; raises as `receive` does."""
        if self._is_asked:  # and Ctrl-C came before the answer, which must not be taken for this request's
            self._process.kill()
        self._is_asked = True
        self._send(request)
        answer = self.receive()
        self._is_asked = False
        return answer

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
                hint=f"try --device {self._device}, in one process",
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


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until nobody asks any more; what such a process does."""
    from clipcli.runtime.parts import ModelParts

    def answer(message: object) -> None:
        pickle.dump(message, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()

    with suppress(EOFError, pickle.UnpicklingError):  # the other side has gone, perhaps in the middle of a batch
        try:
            files, options = pickle.load(requests)
            encoder = ModelParts(files, options).image_encoder
            answer(encoder.batch_size)
            while True:
                pixels, alone = pickle.load(requests)
                features = encoder.encode(pixels, alone=alone)
                answer((features, encoder.batch_size))
        except ClipError as error:
            answer(error)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ClipWarning)  # whoever started this process has given them already
    own_output = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not come between answers
    with suppress(BrokenPipeError), os.fdopen(own_output, "wb") as answers:
        _serve(sys.stdin.buffer, answers)
