"""What a library says of itself: the model that made its features, and the folders that it covers."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clipcli.errors import ClipError, ModelError
from clipcli.files import replacing

FILE_NAME = "library.json"
SCHEMA = "clipcli.library/1"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """All that features depend on besides the image.

    Attributes:
        name: The model's name.
        revision: The commit of a hub model.
        checkpoint: Digest of configuration and weights.
        preparation: What turns a file into pixels.
        precision: The number format, such as `float32`; the device is left out.
        text_preparation: What turns a text into token ids; None where there is no text tower.
        text_numerics: Device type and number format of features of texts.
        languages: What it speaks.
    """

    name: str
    revision: str | None
    checkpoint: str
    preparation: str
    precision: str
    text_preparation: str | None = None
    text_numerics: str = ""
    languages: tuple[str, ...] = ()

    def makes_features_of(self, other: "ModelIdentity") -> bool:
        """Whether the features of images of both may be compared."""
        ours, theirs = ((m.checkpoint, m.preparation, m.precision) for m in (self, other))
        return ours == theirs


@dataclass(frozen=True, slots=True)
class Description:
    """One library.

    Attributes:
        model: Who made the features.
        dimensions: Numbers per feature.
        folders: The folders that it covers, absolute.
        exclude: Globs of what is left out.
        include_hidden: Whether hidden files and folders are taken.
        follow_symlinks: Whether linked folders are walked into.
    """

    model: ModelIdentity
    dimensions: int
    folders: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    follow_symlinks: bool = False
    schema: str = field(default=SCHEMA, init=False)

    def require_model(self, model: ModelIdentity, library: str) -> None:
        """Refuse a model whose features cannot be compared with those of the library.

        Raises:
            ModelError: Both are named.
        """
        if self.model.makes_features_of(model):
            return
        ours, theirs = _named(self.model), _named(model)
        if ours == theirs:
            differs = "its weights" if self.model.checkpoint != model.checkpoint else "the way images are read"
            raise ModelError(
                f"the library {library} was made with {ours}, and {differs} have changed since",
                hint="make the library again: `clip library rm`, then `clip library create`",
            )
        raise ModelError(
            f"the library {library} was made with {ours}, not with {theirs}: their features cannot be compared",
            hint="leave `model` and `dtype` out, or make another library (`clip library create`)",
        )


def read_description(folder: Path) -> Description:
    """Read `library.json`.

    Raises:
        ClipError: There is no library in the folder, or the file is damaged or of a newer version.
    """
    path = folder / FILE_NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value.pop("schema") != SCHEMA:
            raise ClipError(f"{path} is of another version of this program", hint="update clipcli")
        model = value.pop("model")
        model = ModelIdentity(**{**model, "languages": tuple(model["languages"])})
        lists = {key: tuple(map(str, value.pop(key))) for key in ("folders", "exclude")}
        return Description(model, dimensions=int(value.pop("dimensions")), **{**value, **lists})
    except FileNotFoundError:
        raise ClipError(
            f"{folder} is not a library: it has no {FILE_NAME}", hint="`clip library list` shows which there are"
        ) from None
    except OSError as error:
        raise ClipError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClipError(f"{path} is damaged", hint="make the library again with `clip library create`") from error


def write_description(folder: Path, description: Description) -> None:
    """Write `library.json`.

    Raises:
        OSError: It cannot be written.
    """
    value: dict[str, Any] = asdict(description)
    # ASCII: bytes of names that are not UTF-8 are lone surrogates, which only escapes can hold.
    text = json.dumps({"schema": value.pop("schema"), **value}, indent=1)
    with replacing(folder / FILE_NAME) as stream:
        stream.write(f"{text}\n".encode("ascii"))


def _named(model: ModelIdentity) -> str:
    return f"{model.name} ({model.precision})"
