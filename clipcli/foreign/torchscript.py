"""TorchScript archives, such as OpenAI's `ViT-B-32.pt`: their tensors, and nothing of what they would run.

Such an archive is a zip of a pickle (`data.pkl`: modules and their attributes), one member a storage (`data/0`, ...),
and source code. torch can only load it together with its code (`torch.load(weights_only=True)` refuses it), and no
library reads it otherwise. So the pickle is read by an unpickler that knows nothing but tensors, containers and modules
without behavior; the code is text, in which the activation is looked up.
"""

import io
import math
import pickle
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipcli.errors import DamagedModelError, UnsupportedModelError

_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}
# Both are numbers of arXiv:1606.08415: sigmoid(1.702 x) is what CLIP's code calls quick-GELU.
_QUICK_GELU_FACTOR = 1.702
_FLOAT16_ROUNDING = 1e-3
_LARGEST_CODE = 2**24


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Whether a zip is a TorchScript archive: only those carry constants and code."""
    return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(archive: zipfile.ZipFile, source: str) -> tuple[dict[str, Tensor], str | None]:
    """The parameters and buffers of the archived module, and its activation where the code tells.

    Raises:
        DamagedModelError: The archive is damaged, or refers to more than there is in it.
        UnsupportedModelError: It needs something that is not a tensor.
    """
    reader = _Reader(archive, source)
    module = reader.read_pickle("data")
    if not isinstance(module, _Module):
        raise DamagedModelError(f"{source}: its data.pkl holds no module")
    return dict(_tensors(module)), _activation(reader)


class _Module:
    """A module's attributes without its methods: what a pickled class of `__torch__` becomes."""

    __slots__ = ("attributes",)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a module's attributes are no dict")
        self.attributes: dict[Any, Any] = state


class _Function:
    """One of the few functions that a pickle may call; its `BUILD` instruction cannot change it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the pickle tries to change a function")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the pickles of one archive."""

    archive: zipfile.ZipFile
    source: str

    @property
    def root(self) -> str:
        """The folder that all members lie in."""
        return self.archive.namelist()[0].partition("/")[0]

    def read_pickle(self, name: str) -> Any:
        """Read `<name>.pkl`, whose storages lie in the folder `<name>`."""
        content = self.member(f"{name}.pkl")
        try:
            return _Unpickler(content, lambda key: self.member(f"{name}/{key}")).load()
        except _NotATensor as error:
            raise UnsupportedModelError(
                f"{self.source} needs {error} to be read, which is not a tensor",
                hint="no code in a file is ever run; save the model's state dict, or use its safetensors",
            ) from error
        except DamagedModelError:
            raise
        except Exception as error:  # a damaged pickle may raise anything, says its documentation
            raise DamagedModelError(
                f"{self.source}: its {name}.pkl is damaged ({type(error).__name__}: {error})", hint="fetch it again"
            ) from error

    def member(self, name: str) -> bytes:
        """One member, checked against its CRC. Only source code is compressed in an archive that torch wrote."""
        try:
            info = self.archive.getinfo(f"{self.root}/{name}")
            if info.file_size > max(info.compress_size, _LARGEST_CODE):
                raise DamagedModelError(f"{self.source}: its {name} claims to be {info.file_size} bytes once unpacked")
            with self.archive.open(info) as stream:
                return stream.read(info.file_size)  # no more, whatever it unpacks to
        except (KeyError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise DamagedModelError(
                f"{self.source}: its {name} cannot be read: {error}", hint="fetch it again"
            ) from error

    def code(self) -> str:
        """All source code of the archive, as text."""
        prefix = f"{self.root}/code/"
        names = [n for n in self.archive.namelist() if n.startswith(prefix) and n.endswith(".py")]
        if sum(self.archive.getinfo(name).file_size for name in names) > _LARGEST_CODE:
            raise DamagedModelError(f"{self.source} claims to hold more than {_LARGEST_CODE} bytes of source code")
        parts = (self.member(name.removeprefix(f"{self.root}/")) for name in names)
        return "\n".join(part.decode("utf-8", "replace") for part in parts)


class _NotATensor(Exception):
    """A pickle asks for something that is not on the list; says for what."""


class _Unpickler(pickle.Unpickler):
    """Builds tensors, containers, numbers, strings and modules without behavior; refuses all else."""

    def __init__(self, content: bytes, read_storage: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(content))
        self._read_storage = read_storage
        self._storages: dict[str, Tensor] = {}
        self._known: dict[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
            ("torch._utils", "_rebuild_parameter"): _Function(lambda tensor, *_: tensor),
            ("torch.jit._pickle", "restore_type_tag"): _Function(lambda value, _: value),
            ("collections", "OrderedDict"): dict,
        } | {("torch", name): dtype for name, dtype in _DTYPES.items()}
        for name in ("intlist", "doublelist", "boollist", "tensorlist"):
            self._known["torch.jit._pickle", f"build_{name}"] = _Function(list)

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may name; a class of the archive's own code becomes a `_Module`."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (module, name) not in self._known:
            raise _NotATensor(f"{module}.{name}")
        return self._known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """A storage, as a tensor of one dimension: ("storage", dtype, key, device, length)."""
        kind, dtype, key, _, length = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not re.fullmatch(r"\d{1,20}", key):
            raise pickle.UnpicklingError(f"no storage: {pid!r:.80}")
        if key not in self._storages:
            content = bytearray(self._read_storage(key))
            if len(content) != length * dtype.itemsize:
                raise pickle.UnpicklingError(f"storage {key} holds {len(content)} bytes, not {length} {dtype}")
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError(f"a tensor of size {list(size)} over {storage.numel()} numbers")
    return storage.as_strided(size, stride, offset)


def _tensors(root: _Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors by their full names. A module that is reachable twice, or from itself, is visited once."""
    waiting, seen = [("", root)], {id(root)}
    while waiting:
        prefix, module = waiting.pop()
        for name, value in getattr(module, "attributes", {}).items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            elif isinstance(value, _Module) and id(value) not in seen:
                seen.add(id(value))
                waiting.append((f"{prefix}{name}.", value))


def _activation(reader: _Reader) -> str | None:
    """`gelu` or `quick_gelu` where the archive's code calls just one of them, else None."""
    code = reader.code()
    exact = "torch.gelu(" in code
    constants = reader.read_pickle("constants")
    factors = [float(value) for value in constants if isinstance(value, Tensor) and value.numel() == 1]
    factors += [float(number) for number in re.findall(r"\b1\.70\d*", code)]
    quick = "torch.sigmoid(" in code and any(abs(f - _QUICK_GELU_FACTOR) < _FLOAT16_ROUNDING for f in factors)
    return None if exact == quick else ("gelu" if exact else "quick_gelu")
