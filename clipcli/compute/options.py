"""How a model is run, whatever the question."""

from dataclasses import dataclass, field

from clipcli import hub
from clipcli.compute.devices import check_device_name, check_dtype_name
from clipcli.errors import UsageError
from clipcli.images.decode import DecodeOptions
from clipcli.text.cleaning import check_text_cleaning


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a model.

    Attributes:
        device: `auto`, `cpu`, `cuda`, `cuda:N`, `mps`, or `cuda:all` for a process on every GPU; a script that asks for
            it must do so under `if __name__ == "__main__"`, as whatever starts processes.
        dtype: `auto`, `float32`, `bfloat16`, `float16` or `int8` (the image tower on the CPU).
        batch_size: Images per batch; None chooses, on a GPU by its free memory.
        workers: Threads that decode; None chooses.
        decode: How images are read.
        cache: Read and write cached features.
        text_cleaning: `openai` repairs texts as OpenAI's own code does, `none` leaves them as `transformers` does, and
            `auto` does what the checkpoint's authors do: the first for files in OpenAI's or open_clip's own layout.

    Raises:
        UsageError: A name is not known, or a count is below 1.
    """

    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    cache: bool = True
    text_cleaning: str = "auto"

    def __post_init__(self) -> None:
        """Check names and counts, as far as that is possible without torch."""
        check_device_name(self.device)
        check_dtype_name(self.dtype)
        check_text_cleaning(self.text_cleaning)
        for name, value in (("batch_size", self.batch_size), ("workers", self.workers)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}", parameter=name, value=value)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Files and options: all that it takes to build the same engine in another process. Can be pickled."""

    files: hub.ModelFiles
    options: RunOptions


def read_batch_size(text: str) -> int | None:
    """Read a batch size: a number, or None for `auto`.

    Raises:
        UsageError: It is neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal():
        raise UsageError(f"batch_size must be auto or a whole number, not {text}", parameter="batch_size", value=text)
    return int(text)
