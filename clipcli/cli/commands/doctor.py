"""`clip doctor`: what this machine has, whether it computes right, and whether the default job would run.

The report's shape is `schemas/clipcli.doctor-2.json`.
"""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipcli.cli.options.model import DeviceName, DtypeName, ModelName, Profile, Revision
from clipcli.cli.output.destination import open_destination
from clipcli.cli.output.documents.doctor import doctor_text, error_text
from clipcli.cli.shell.boundary import worded
from clipcli.cli.shell.defaults import PROGRAM, Default, all_defaults
from clipcli.cli.shell.terminal import wants_colour
from clipcli.errors import ClipError, ExitStatus
from clipcli.files import dump

if TYPE_CHECKING:
    from clipcli.api.diagnose import DeviceCheck

_PACKAGES = ("torch", "numpy", "pillow", "tokenizers", "safetensors", "huggingface_hub", "typer", "rich")
_EXTRAS = {
    "flax": ("msgpack",),
    "heif": ("pillow_heif",),
    "parquet": ("pyarrow",),
    "scale": ("obstore", "pyarrow", "ray"),
    "sentencepiece": ("sentencepiece", "google.protobuf"),
    "serve": ("python_multipart", "starlette", "uvicorn"),
    "tf": ("h5py",),
}
_TIMEOUT_S = 3.0

Report = dict[str, Any]


def doctor(
    ctx: typer.Context,
    model: ModelName = None,
    revision: Revision = None,
    device: DeviceName = "auto",
    dtype: DtypeName = "auto",
    profile: Profile = None,
    offline: Annotated[
        bool, typer.Option("--offline", envvar="CLIPCLI_OFFLINE", help="Do not check whether the hub can be reached.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show versions, every device, digests and the terminal.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check whether a run would work on this machine.

    The first line is the verdict. The exit status is 0 if a run with these settings would work, and 1 if not.

    \b
    clip doctor
    clip doctor -v
    clip doctor --model vit-l14 --device cuda --offline
    clip doctor --json | jq .problem
    """  # noqa: D301 - \b keeps lines apart
    from clipcli.api.diagnose import check_devices

    checks = check_devices()
    hub_report = _hub(offline)
    job, problem = _job(model, revision, device, dtype, checks, hub_report)
    defaults: list[Default] = []
    try:
        defaults = all_defaults(ctx.find_root().command, profile)
    except ClipError as error:  # nothing runs before that is fixed
        problem = error
    report = _report(job, None if problem is None else worded(problem, ctx), checks, hub_report, defaults)
    text = dump(report, indent=1) if json else "\n".join(doctor_text(report, verbose=verbose))
    with open_destination(None) as destination:
        destination.write(f"{text}\n")
    if problem is not None:
        if json:  # a text says it itself
            raise ClipError(str(problem), problem.hint, parameter=problem.parameter)
        raise typer.Exit(ExitStatus.FAILED)


def _report(
    job: Report,
    problem: "tuple[str, str | None] | None",
    checks: "list[DeviceCheck]",
    hub_report: Mapping[str, Any],
    defaults: list[Default],
) -> Report:
    message, hint = problem or ("", None)
    return {
        "schema": "clipcli.doctor/2",
        "ok": problem is None,
        "problem": None if problem is None else {"message": message, "hint": hint},
        "job": job,
        "versions": _versions(),
        "devices": [asdict(check) for check in checks],
        "caches": _caches(),
        "settings": _settings(defaults),
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
    from clipcli.api.diagnose import check_job, check_placement

    job: Report = {"model": model, "revision": revision, "here": False, "device": None, "dtype": None}
    try:
        placement = check_placement(device, dtype)
        job |= {"device": placement.device, "dtype": placement.dtype}
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
            wrong = check.failure or ", ".join(f"{name} {error_text(error)}" for name, error in check.errors.items())
            raise ClipError(
                f"{check.device} computes wrong numbers in {check.dtype}: {wrong}",
                hint='use `device="cpu"`, or another `dtype`; its driver may need an update',
            )


def _refuse_unfetchable(name: str, revision: str | None, hub_report: Mapping[str, Any]) -> None:
    option = f" with `revision={revision!r}`" if revision else ""
    if not hub_report["reachable"]:
        why = (
            "fetching it is forbidden (`offline=True` or HF_HUB_OFFLINE)"
            if hub_report["offline"]
            else f"the hub cannot be reached: {hub_report['failure']}"
        )
        raise ClipError(
            f"{name}{f' at {revision}' if revision else ''} is not installed, and {why}",
            hint=f"`clip models pull {name}`{option} downloads it if there is a network (HTTPS_PROXY sets a proxy, "
            'HF_ENDPOINT a mirror); `model="demo"` works without a download',
        )
    if not _is_writable(Path(hub_report["cache"])):
        raise ClipError(
            f"{hub_report['cache']} cannot be written, so {name} cannot be fetched into it",
            hint="set HF_HOME to a folder of your own, or fix its permissions",
        )


def _versions() -> dict[str, str]:
    import platform

    from clipcli import __version__

    packages = {name: _version(name) for name in _PACKAGES}
    return {"clipcli": __version__, "python": platform.python_version(), "system": platform.platform(), **packages}


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


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
    from clipcli.foreign.kept import kept_conversions

    places = {
        "models": Path(constants.HF_HUB_CACHE),
        "converted models": kept_conversions().path,
        "features": cache_path(),
    }
    return [
        {"name": name, "path": str(path), "size_bytes": _size(path), "writable": _is_writable(path)}
        for name, path in places.items()
    ]


def _settings(defaults: list[Default]) -> Report:
    from clipcli.settings import config_file

    folder = config_file().parent
    own = [asdict(default) for default in defaults if default.origin != PROGRAM]
    return {"path": str(folder), "writable": _is_writable(folder), "options": own}


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
