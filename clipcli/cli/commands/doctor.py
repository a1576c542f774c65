"""`clip doctor`: what this machine has, whether it computes right, and whether the default job would run.

Imports torch inside the command only. The report's shape is `schemas/clipcli.doctor-1.json`.
"""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options import DeviceName, DtypeName, ModelName, Revision
from clipcli.cli.output.destination import open_destination
from clipcli.cli.shell.boundary import handles_errors
from clipcli.cli.shell.terminal import printable, wants_colour
from clipcli.cli.shell.wording import size_text
from clipcli.errors import ClipError
from clipcli.files import dump

if TYPE_CHECKING:
    from clipcli.api.diagnose import DeviceCheck

_PACKAGES = ("torch", "numpy", "pillow", "tokenizers", "safetensors", "huggingface_hub", "typer", "rich")
_EXTRAS = {
    "flax": ("msgpack",),
    "heif": ("pillow_heif",),
    "sentencepiece": ("sentencepiece", "google.protobuf"),
    "tf": ("h5py",),
}
_TIMEOUT_S = 3.0

Report = dict[str, Any]


@handles_errors
def doctor(
    model: ModelName = None,
    revision: Revision = None,
    device: DeviceName = "auto",
    dtype: DtypeName = "auto",
    offline: Annotated[
        bool, typer.Option("--offline", envvar="CLIPCLI_OFFLINE", help="Do not ask whether the hub is there.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check this machine, and whether a job would run on it.

    Shown are versions, devices and their arithmetic, caches, settings, the hub, extras, models and the terminal.
    Exit status 0 means that a job with these settings would run; 1 that it would not, with the first thing to mend.

    \b
    clip doctor
    clip doctor --model vit-l14 --device cuda --offline
    clip doctor --json | jq .problem
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.api.diagnose import check_devices

    checks = check_devices()
    hub_report = _hub(offline)
    job, problem = _job(model, revision, device, dtype, checks, hub_report)
    report = _report(job, problem, checks, hub_report)
    with open_destination(None) as destination:
        destination.write((dump(report, indent=1) if json else "\n".join(map(printable, _as_text(report)))) + "\n")
    if problem is not None:
        raise ClipError(
            str(problem), problem.hint, parameter=problem.parameter
        )  # status 1, whatever a job would end with


def _report(
    job: dict[str, Any], problem: ClipError | None, checks: "list[DeviceCheck]", hub_report: Mapping[str, Any]
) -> Report:
    return {
        "schema": "clipcli.doctor/1",
        "ok": problem is None,
        "problem": None if problem is None else {"message": str(problem), "hint": problem.hint},
        "job": job,
        "versions": _versions(),
        "devices": [asdict(check) for check in checks],
        "caches": _caches(),
        "settings": _settings(),
        "hub": hub_report,
        "extras": {name: all(map(_is_installed, modules)) for name, modules in _EXTRAS.items()},
        "models": _models(),
        "terminal": _terminal(),
    }


def _job(
    model: str | None,
    revision: str | None,
    device: str,
    dtype: str,
    checks: "list[DeviceCheck]",
    hub_report: Mapping[str, Any],
) -> tuple[Report, ClipError | None]:
    """What a job without more options would use, and the first thing that would stop it."""
    from clipcli import hub
    from clipcli.api.diagnose import check_job
    from clipcli.compute.devices import choose_device, choose_dtype

    job: Report = {"model": model, "revision": revision, "here": False, "device": None, "dtype": None}
    try:
        chosen = choose_device(device)
        job |= {"device": str(chosen), "dtype": str(choose_dtype(dtype, chosen)).removeprefix("torch.")}
        _refuse_wrong_numbers(job, checks)
        job["model"] = model or hub.default_model()
        job["here"] = hub.is_here(job["model"], revision=revision)
        if job["here"]:
            check_job(job["model"], revision=revision, device=device, dtype=dtype)
        else:
            _refuse_unfetchable(job["model"], revision, hub_report)
    except ClipError as error:
        return job, error
    return job, None


def _refuse_wrong_numbers(job: Mapping[str, Any], checks: "list[DeviceCheck]") -> None:
    for check in checks:
        if (check.device, check.dtype) == (job["device"], job["dtype"]) and not check.ok:
            wrong = check.failure or ", ".join(f"{name} {_error_text(error)}" for name, error in check.errors.items())
            raise ClipError(
                f"{check.device} computes wrong numbers in {check.dtype}: {wrong}",
                hint="use --device cpu, or another --dtype; its driver may need an update",
            )


def _refuse_unfetchable(name: str, revision: str | None, hub_report: Mapping[str, Any]) -> None:
    option = f" --revision {revision}" if revision else ""
    if not hub_report["reachable"]:
        why = (
            "fetching it is forbidden (--offline or HF_HUB_OFFLINE)"
            if hub_report["offline"]
            else f"the hub is not there: {hub_report['failure']}"
        )
        raise ClipError(
            f"{name}{f' at {revision}' if revision else ''} is not on this machine, and {why}",
            hint=f"`clip models pull {name}{option}` fetches it where there is a network (HTTPS_PROXY sets a proxy, "
            "HF_ENDPOINT a mirror); `--model demo` works at once, without a download",
        )
    if not _is_writable(Path(hub_report["cache"])):
        raise ClipError(
            f"{hub_report['cache']} cannot be written, so {name} cannot be fetched into it",
            hint="set HF_HOME to a folder of your own, or mend the permissions",
        )


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    from clipcli import __version__

    packages = {name: version(name) for name in _PACKAGES}
    return {"clipcli": __version__, "python": platform.python_version(), "system": platform.platform(), **packages}


def _hub(offline: bool) -> Report:
    from huggingface_hub import constants, get_token

    from clipcli import hub

    forbidden = offline or constants.HF_HUB_OFFLINE
    start = time.perf_counter()
    failure = "offline" if forbidden else hub.why_unreachable(_TIMEOUT_S)
    return {
        "endpoint": constants.ENDPOINT,
        "offline": forbidden,
        "reachable": failure is None,
        "failure": failure,
        "milliseconds": None if forbidden else 1000 * (time.perf_counter() - start),
        "token": get_token() is not None,
        "cache": constants.HF_HUB_CACHE,
    }


def _caches() -> list[Report]:
    from huggingface_hub import constants

    from clipcli.features.cache import cache_path
    from clipcli.foreign.convert import kept_conversions

    places = {
        "models": Path(constants.HF_HUB_CACHE),
        "converted models": kept_conversions().path,
        "features": cache_path(),
    }
    return [
        {"name": name, "path": str(path), "size_bytes": _size(path), "writable": _is_writable(path)}
        for name, path in places.items()
    ]


def _settings() -> Report:
    from clipcli import hub

    folder = hub.config_file().parent
    return {"path": str(folder), "writable": _is_writable(folder)}


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*")
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def _is_writable(path: Path) -> bool:
    """Whether a file or folder can be written, or made where it would lie."""
    existing = next((place for place in (path, *path.parents) if place.exists()), path)
    return os.access(existing, os.W_OK)


def _models() -> list[Report]:
    from clipcli import hub
    from clipcli.features.digests import blob_digest

    return [
        {
            "id": stored.hub_id,
            "family": stored.family,
            "revision": stored.revision,
            "folder": str(stored.folder),
            "size_bytes": stored.size_bytes,
            "missing": list(stored.missing),
            "sha256": {
                path.name: digest.hex()
                for path in (hub.weight_files(stored.folder) if not stored.missing else ())
                if (digest := blob_digest(path)) is not None
            },
        }
        for stored in hub.stored_models()
    ]


def _terminal() -> Report:
    stdout, stderr = (stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))
    return {
        "stdout": stdout,
        "stderr": stderr,
        "columns": shutil.get_terminal_size().columns,
        "colour": wants_colour(sys.stdout),
        "encoding": getattr(sys.stdout, "encoding", None),
    }


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of its parent package
        return False


def _as_text(report: Report) -> Iterator[str]:
    """The report for people: one thing a line, under a heading each."""
    yield from _section("versions", report["versions"])
    yield from _section("devices", {f"{row['device']} {row['dtype']}": _device_text(row) for row in report["devices"]})
    yield from _section("caches", {row["name"]: _cache_text(row) for row in report["caches"]})
    yield from _section("settings", {"folder": _folder_text(report["settings"])})
    yield from _section("hub", {report["hub"]["endpoint"]: _hub_text(report["hub"])})
    yield from _section(
        "extras",
        {
            name: "installed" if installed else f"not installed (pip install 'clipcli[{name}]')"
            for name, installed in report["extras"].items()
        },
    )
    yield from _section(
        "models",
        {row["id"]: _model_text(row) for row in report["models"]} or {"none": "`clip models pull ID` fetches one"},
    )
    terminal = report["terminal"]
    yield from _section("terminal", {key: _yes_or_no(value) for key, value in terminal.items()})
    job = report["job"]
    yield from _section("default job", {key: _yes_or_no(value) for key, value in job.items() if value is not None})
    yield ""
    if not report["problem"]:
        yield "ready"


def _section(title: str, lines: Mapping[str, Any]) -> Iterator[str]:
    yield title
    width = max(map(len, lines))
    yield from (f"  {name:<{width}}  {value}" for name, value in lines.items())


def _device_text(row: Mapping[str, Any]) -> str:
    if row["failure"]:
        return f"fails: {row['failure']}"
    errors = row["errors"]
    worst = max(errors, key=lambda name: float("inf") if errors[name] is None else errors[name])
    verdict = "right" if row["ok"] else "WRONG"
    return f"{verdict}, {worst} {_error_text(errors[worst])} at worst, {row['milliseconds']:.0f} ms"


def _error_text(error: float | None) -> str:
    return "is no number" if error is None else f"is off by {error:.1e}"


def _cache_text(row: Mapping[str, Any]) -> str:
    return f"{size_text(row['size_bytes'])} in {_folder_text(row)}"


def _folder_text(row: Mapping[str, Any]) -> str:
    return f"{row['path']}{'' if row['writable'] else ', not writable'}"


def _hub_text(row: Mapping[str, Any]) -> str:
    state = f"answers in {row['milliseconds']:.0f} ms" if row["reachable"] else f"not reachable: {row['failure']}"
    return ("not asked (offline)" if row["offline"] else state) + (", with a token" if row["token"] else "")


def _model_text(row: Mapping[str, Any]) -> str:
    state = f"lacks {', '.join(row['missing'])}" if row["missing"] else f"commit {row['revision'][:8]}"
    digests = "".join(f", sha256 {digest[:16]}" for digest in row["sha256"].values())
    return f"{size_text(row['size_bytes'])}, {state}{digests}"


def _yes_or_no(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
