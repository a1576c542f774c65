"""What `clip models list` and `info` say of a model: the registry's row, joined with what is on this machine."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clipcli.cli.output.rows import Column
from clipcli.cli.shell.wording import size_text

if TYPE_CHECKING:
    from clipcli.checkpoints.config import ModelConfig
    from clipcli.hub import Checkpoint, StoredModel

_SHOWN_LANGUAGES = 2
_SHOWN_OF_COMMIT = 8
_WIDE, _WIDEST = 130, 180


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model. What is not known is None, or empty; the last six say what is on this machine.

    `pinned` is the commit that is fetched; None means the branch `main`. `here` is whether --model finds it whole;
    `only_at` is what --revision must say where only another revision is.
    """

    alias: str | None
    id: str
    family: str | None
    languages: tuple[str, ...] = ()
    image_size: int | None = None
    parameters: int | None = None
    download_bytes: int | None = None
    license: str | None = None
    imagenet_top1: float | None = None
    imagenet_source: str | None = None
    best_for: str | None = None
    pinned: str | None = None
    default: bool = False
    here: bool = False
    missing: tuple[str, ...] = ()
    revision: str | None = None
    only_at: str | None = None
    folder: str | None = None
    size_bytes: int | None = None


def model_rows() -> list[ModelRow]:
    """The registry and what else is stored, by family; the bundled model, and a default that is none of these."""
    from clipcli import hub
    from clipcli.checkpoints.families import FAMILIES

    chosen = hub.default_model()
    named = hub.find_checkpoint(chosen)
    default = named.hub_id if named else chosen
    stored = {model.hub_id.casefold(): model for model in hub.stored_models()}
    rows = [_row(row, stored.pop(row.hub_id.casefold(), None), default) for row in hub.CHECKPOINTS]
    rows.extend(_row(None, model, default) for model in stored.values())
    rows.sort(key=lambda row: [*FAMILIES].index(row.family) if row.family in FAMILIES else len(FAMILIES))
    rows.append(_demo_row(default))
    if not any(row.default for row in rows) and hub.is_local(default):
        rows.append(_path_row(default))
    return rows


def describe_model(name: str, revision: str | None) -> dict[str, Any]:
    """Everything known of one model; what its files say is added if they are here.

    Raises:
        UsageError: A file of another layout does not say which activation its network has.
        ModelNotFoundError: It is neither in the registry nor on this machine.
        ModelError: Its files are damaged or not supported.
    """
    from clipcli import hub
    from clipcli.foreign.check import config_of
    from clipcli.foreign.resolve import is_foreign

    if revision is None and is_foreign(name):
        return _describe_foreign(name)
    known = hub.find_checkpoint(name)
    stored = next((row for row in model_rows() if known and row.id == known.hub_id), None)
    if stored is not None and stored.folder is None and revision is None:
        return asdict(stored)
    model = hub.find_model(name, revision=revision)
    row = stored or next((row for row in model_rows() if row.id == model.id), None) or _path_row(name)
    files = {path.name: path.stat().st_size for path in sorted(model.folder.iterdir()) if path.is_file()}
    return {
        **asdict(row),
        **_networks(row, config_of(model.folder)),
        "here": True,
        "revision": model.revision,
        "folder": str(model.folder),
        "size_bytes": row.size_bytes or sum(files.values()),
        "files": files,
    }


def list_table(rows: Sequence[ModelRow]) -> list[Column]:
    """A table for people; hub ids, then families and licenses, only where the terminal is wide enough."""
    width = shutil.get_terminal_size().columns
    columns = [
        Column("model", [f"{'* ' if row.default else '  '}{row.alias or row.id}" for row in rows]),
        Column("speaks", [_languages(row.languages) for row in rows]),
        Column("pixels", [str(row.image_size or "") for row in rows], right=True),
        Column("params", [_millions(row.parameters) for row in rows], right=True),
        Column("download", [size_text(row.download_bytes) for row in rows], right=True),
        Column("ImageNet", [_accuracy(row) for row in rows], right=True),
        Column("installed", [_presence(row) for row in rows]),
    ]
    if width >= _WIDE:
        columns.insert(1, Column("hub id", [row.id if row.alias != row.id else "" for row in rows]))
    if width >= _WIDEST:
        columns.insert(0, Column("family", _once_each([_family(row) for row in rows])))
        columns.append(Column("license", [row.license or "" for row in rows]))
    return columns


def _family(row: ModelRow) -> str:
    from clipcli.checkpoints.families import FAMILIES

    return FAMILIES[row.family].title if row.family in FAMILIES else row.family or ""


def _once_each(values: Sequence[str]) -> list[str]:
    """Leave out what stands in the row above already."""
    return [value if i == 0 or value != values[i - 1] else "" for i, value in enumerate(values)]


def info_table(description: Mapping[str, Any]) -> list[Column]:
    """Two columns for people: what, and its value; what is not known is left out."""
    facts = {name: text for name, text in _facts(description) if text}
    return [Column("", [*facts]), Column("", [*facts.values()])]


def _row(checkpoint: "Checkpoint | None", stored: "StoredModel | None", default: str) -> ModelRow:
    known: dict[str, Any] = {}
    if checkpoint is not None:
        known = {
            "alias": checkpoint.alias,
            "id": checkpoint.hub_id,
            "family": checkpoint.family,
            "languages": checkpoint.languages,
            "image_size": checkpoint.image_size,
            "parameters": checkpoint.parameters,
            "download_bytes": checkpoint.download_bytes,
            "license": checkpoint.license,
            "imagenet_top1": checkpoint.imagenet_top1,
            "imagenet_source": checkpoint.imagenet_source,
            "best_for": checkpoint.best_for,
            "pinned": checkpoint.revision,
        }
    elif stored is not None:
        known = {"alias": None, "id": stored.hub_id, "family": stored.family}
    if stored is not None:
        known |= {
            "here": not stored.missing and stored.only_at is None,
            "missing": stored.missing,
            "revision": stored.revision,
            "only_at": stored.only_at,
            "folder": str(stored.folder),
            "size_bytes": stored.size_bytes,
        }
    return ModelRow(**known, default=known["id"] == default)


def _demo_row(default: str) -> ModelRow:
    from clipcli import hub
    from clipcli.checkpoints.config import read_config

    folder = hub.demo_folder()
    missing = hub.missing_files(folder)
    config = None if missing else read_config(folder)
    return ModelRow(
        alias=hub.DEMO,
        id=hub.DEMO,
        family=config.family if config else None,
        languages=("en",),
        image_size=getattr(config.vision, "image_size", None) if config else None,
        default=default == hub.DEMO,
        here=not missing,
        missing=missing,
        folder=str(folder),
        size_bytes=sum(path.stat().st_size for path in folder.glob("*") if path.is_file()),
    )


def _path_row(name: str) -> ModelRow:
    """A folder or file outside the hub's cache, not looked into."""
    from clipcli import hub

    path = hub.local_path(name)
    return ModelRow(
        alias=None,
        id=name,
        family=None,
        default=hub.default_model() == os.path.abspath(path),
        here=True,
        folder=str(path if path.is_dir() else path.parent),
        size_bytes=None if path.is_dir() else path.stat().st_size,
    )


def _describe_foreign(name: str) -> dict[str, Any]:
    """A checkpoint of another layout, read from what it was converted into if it was, else from itself."""
    from clipcli import hub
    from clipcli.checkpoints.config import read_config
    from clipcli.foreign.check import foreign_config
    from clipcli.foreign.kept import kept_conversion

    path = hub.local_path(name)
    row, kept = _path_row(name), kept_conversion(path)
    sources = sorted(path.iterdir()) if path.is_dir() else [path]
    files = {source.name: source.stat().st_size for source in sources if source.is_file()}
    return {
        **asdict(row),
        **_networks(row, read_config(kept) if kept else foreign_config(path)),
        "size_bytes": sum(files.values()),
        "files": files,
        "converted": str(kept) if kept else None,
    }


def _networks(row: ModelRow, config: "ModelConfig") -> dict[str, Any]:
    """What a checkpoint's configuration says of its networks."""
    return {
        "family": row.family or config.family,
        "projection_dim": config.projection_dim,
        "vision": asdict(config.vision) if config.vision else None,
        "text": asdict(config.text) if config.text else None,
    }


def _languages(codes: Sequence[str]) -> str:
    rest = len(codes) - _SHOWN_LANGUAGES
    return " ".join(codes[:_SHOWN_LANGUAGES]) + (f" +{rest}" if rest > 0 else "")


def _millions(parameters: int | None) -> str:
    return f"{parameters / 1e6:,.0f} M" if parameters else ""


def _accuracy(row: ModelRow) -> str:
    """Published top-1 in percent, with the language of the class names where it is not English."""
    if row.imagenet_top1 is None:
        return ""
    return f"{row.imagenet_top1:g}" + ("" if "en" in row.languages else f" {row.languages[0]}")


def _presence(row: ModelRow) -> str:
    return "yes" if row.here else "incomplete" if row.missing else _only_at(row)


def _only_at(row: ModelRow) -> str:
    """The branch or tag that is here in place of the usual one; a commit, which is its own name, by its start."""
    name = row.only_at or ""
    return f"at {name[:_SHOWN_OF_COMMIT] if name == row.revision else name}" if name else ""


def _facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What people want to know of a model; JSON has every setting of its networks."""
    named = about["alias"] or about["id"]
    fetch = f"`clip models pull {named}` fetches it"
    missing = f"incomplete: lacks {', '.join(about['missing'])}; {fetch}" if about["missing"] else f"no; {fetch}"
    yield "model", named + (f" ({about['id']})" if about["id"] != named else "")
    yield "family", about["family"] or ""
    yield "languages", " ".join(about["languages"])
    yield "images", f"{about['image_size']} x {about['image_size']} pixels" if about["image_size"] else ""
    yield "parameters", f"{about['parameters'] / 1e6:,.0f} million" if about["parameters"] else ""
    yield "ImageNet", f"{about['imagenet_top1']:g}% ({about['imagenet_source']})" if about["imagenet_top1"] else ""
    yield "license", about["license"] or ""
    yield "download", size_text(about["download_bytes"])
    yield "best for", about.get("best_for") or ""
    yield "default", "yes" if about["default"] else ""
    yield "installed", "yes" if about["here"] else f"at {about['only_at']} only" if about["only_at"] else missing
    yield "revision", about["revision"] or ""
    yield "folder", about["folder"] or ""
    yield "converted", about.get("converted") or ""
    yield "size", size_text(about["size_bytes"])
    yield "image tower", _tower(about.get("vision"))
    yield "text tower", _tower(about.get("text"))
    yield "features", f"{about['projection_dim']} numbers" if about.get("projection_dim") else ""
    yield "files", "\n".join(f"{name}, {size_text(size)}" for name, size in about.get("files", {}).items())


def _tower(tower: Mapping[str, Any] | None) -> str:
    """The size of a network in a line."""
    parts = (
        ("num_hidden_layers", "{} layers"),
        ("layers", "stages of {} blocks"),
        ("hidden_size", "width {}"),
        ("num_attention_heads", "{} heads"),
        ("patch_size", "patches of {} pixels"),
        ("max_position_embeddings", "up to {} tokens"),
        ("vocab_size", "a vocabulary of {}"),
    )
    return ", ".join(text.format(tower[key]) for key, text in parts if tower.get(key)) if tower else ""
