"""The report of `clip doctor` for people: the verdict, what it rests on, and with `-v` everything."""

from collections.abc import Iterator, Mapping
from typing import Any

from clipcli.cli.shell.terminal import Style, printable, styled
from clipcli.cli.shell.wording import counted, size_text
from clipcli.files import dump

Report = Mapping[str, Any]

_GOOD, _NOTE, _BAD = "ok", "note", "bad"
_MARKS = {_GOOD: ("✓", Style.GREEN), _NOTE: ("!", Style.YELLOW), _BAD: ("✗", Style.RED)}
_ASCII = {"✓": "+", "✗": "x"}
_PURPOSES = {
    "flax": "weights of Flax",
    "heif": "HEIC and AVIF images",
    "index": "approximate indexes of libraries",
    "parquet": "tables in Parquet",
    "scale": "object stores and clusters of machines",
    "sentencepiece": "tokenizers that are SentencePiece files only",
    "serve": "the page and the API of `clip serve`",
    "tf": "weights of TensorFlow",
}


def doctor_text(report: Report, *, verbose: bool) -> Iterator[str]:
    """Word the report, a line at a time; paths in it hold no control characters.

    Args:
        report: As the JSON document.
        verbose: Everything, not only what a run depends on.
    """
    yield from _verdict(report)
    yield ""
    for state, name, text in _checks(report):
        yield f"{_mark(state, report)} {name:<8}  {printable(text)}"
    yield from map(printable, _details(report)) if verbose else ("", "`clip doctor -v` shows everything")


def _verdict(report: Report) -> Iterator[str]:
    job, problem = report["job"], report["problem"]
    if problem is None:
        yield f"{_mark(_GOOD, report)} ready: {printable(job['model'])} on {job['device']} in {job['dtype']}"
        return
    yield f"{_mark(_BAD, report)} not ready: {printable(problem['message'])}"
    if problem["hint"]:
        yield f"  hint: {printable(problem['hint'])}"


def _mark(state: str, report: Report) -> str:
    sign, style = _MARKS[state]
    if "utf" not in (report["terminal"]["encoding"] or "").lower():
        sign = _ASCII.get(sign, sign)
    return styled(sign, style) if report["terminal"]["colour"] else sign


def _checks(report: Report) -> Iterator[tuple[str, str, str]]:
    """What a run depends on: whether it is well, its name, and how it is."""
    job, hub = report["job"], report["hub"]
    if job["model"]:
        name = f"{job['model']}{' at ' + job['revision'] if job['revision'] else ''}"
        yield (_GOOD, "model", f"{name} is installed") if job["here"] else (_NOTE, "model", f"{name} is not installed")
    broken = [row for row in report["devices"] if not row["ok"]]
    right = list(dict.fromkeys(row["device"] for row in report["devices"] if row["ok"]))
    yield _GOOD if right else _BAD, "devices", f"{', '.join(right) or 'none'} computed test values correctly"
    for row in broken:
        yield _NOTE, "devices", f"{row['device']} in {row['dtype']} {_device_text(row)}"
    yield _GOOD if hub["reachable"] or hub["offline"] else _NOTE, "hub", f"{hub['endpoint']} {_hub_text(hub)}"
    for row in report["caches"]:
        yield _GOOD if row["writable"] else _NOTE, "cache", f"{row['name']}: {_cache_text(row)}"
    if not report["settings"]["writable"]:
        yield _NOTE, "settings", _folder_text(report["settings"])
    for row in report["settings"]["options"]:
        yield _GOOD, "settings", f"--{row['option']} {dump(row['value'])}, from {row['origin']}"
    for name, installed in report["extras"].items():
        if not installed:
            yield _NOTE, "extra", f"{_PURPOSES[name]} need `pip install 'clipcli[{name}]'`"
    models = report["models"]
    size = size_text(sum(row["size_bytes"] for row in models))
    yield _GOOD, "models", f"{counted(len(models), 'model')} of the hub, {size}" if models else "none of the hub yet"


def _details(report: Report) -> Iterator[str]:
    """Everything else, under a heading each."""
    yield ""
    yield from _section("versions", report["versions"])
    yield from _section("devices", {f"{row['device']} {row['dtype']}": _device_text(row) for row in report["devices"]})
    yield from _section("extras", {name: _extra_text(name, there) for name, there in report["extras"].items()})
    yield from _section("settings", {"folder": _folder_text(report["settings"])})
    if report["models"]:
        yield from _section("models", {row["id"]: _model_text(row) for row in report["models"]})
    yield from _section("terminal", {key: _yes_or_no(value) for key, value in report["terminal"].items()})


def _section(title: str, lines: Mapping[str, Any]) -> Iterator[str]:
    yield title
    width = max(map(len, lines))
    yield from (f"  {name:<{width}}  {value}" for name, value in lines.items())


def _device_text(row: Mapping[str, Any]) -> str:
    if row["failure"]:
        return f"fails: {row['failure']}"
    errors = row["errors"]
    worst = max(errors, key=lambda name: float("inf") if errors[name] is None else errors[name])
    verdict = "computes correctly" if row["ok"] else "computes wrong numbers"
    return f"{verdict}: {worst} {error_text(errors[worst])} at worst, {row['milliseconds']:.0f} ms"


def error_text(error: float | None) -> str:
    """How far a result is from the right one."""
    return "is not a number" if error is None else f"is off by {error:.1e}"


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


def _extra_text(name: str, there: bool) -> str:
    return "installed" if there else f"not installed (pip install 'clipcli[{name}]')"


def _yes_or_no(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
