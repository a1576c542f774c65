"""The durable state of a run: its shards, which are done, and how often each was tried.

It consists of objects in the run's folder that are created and never changed, so any number of workers on any machines
may die at any moment, continue after they were considered dead, or process the same shard at the same time:

    .clip/run.json              the settings; written once, compared by every later start
    .clip/shards-DIGEST.jsonl   the shards, one per line; which of these lists counts, run.json says
    .clip/attempts/SHARD.N      someone began shard SHARD for the Nth time
    data/SHARD.parquet          a shard's output, whole from the moment it can be seen
    .clip/done/SHARD.json       the output is whole, and no worker will change it: names, sizes, digests, counts
    .clip/failed/SHARD.json     the shard was given up, and why
    _SUCCESS                    all shards are done

An attempt is noted before work and taken back only by whoever stops in order; what a shard kills leaves its note, so a
shard that brings down its workers is given up after a few, whoever starts them again.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clipcli.errors import ClipError, UsageError
from clipcli.files import dump
from clipcli.scale.inputs.shard import Shard
from clipcli.scale.stores import PRIVATE, Folder

SCHEMA = "clipcli.scale/1"
TRIES = 3
_RUN, _SUCCESS = f"{PRIVATE}/run.json", "_SUCCESS"

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file of the output, as it was written."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes) -> "OutputFile":
        """Describe a file."""
        return cls(name, len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of rows by result.

    Attributes:
        rows: All rows.
        ok: Rows with an answer.
        errors: Rows without an answer, by the type of the error.
        cut: Captions that were longer than the model's context.
    """

    rows: int = 0
    ok: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    cut: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """The sum of both."""
        types = {*self.errors, *other.errors}
        errors = {name: self.errors.get(name, 0) + other.errors.get(name, 0) for name in sorted(types)}
        return Counts(self.rows + other.rows, self.ok + other.ok, errors, self.cut + other.cut)


class Ledger:
    """The ledger of a run.

    Args:
        folder: The run's folder.
        tries: How often a shard is tried.
    """

    def __init__(self, folder: Folder, tries: int = TRIES) -> None:
        self._folder, self._tries = folder, tries

    def begin(self, settings: Settings, plan: Callable[[], Sequence[Shard]]) -> list[Shard]:
        """Begin a run or find the one that was begun; returns its shards.

        Args:
            settings: Everything that the output depends on, by the names that errors use.
            plan: Makes the shards; called only if the run has none.

        Raises:
            UsageError: The folder holds a run with other settings, or something else.
        """
        now = json.loads(dump(dict(settings)))
        run = self._read(_RUN)
        if run is None:
            self._refuse_strangers()
            shards = "".join(dump(shard.to_dict()) + "\n" for shard in plan()).encode("utf-8", "surrogatepass")
            name = f"{PRIVATE}/shards-{hashlib.sha256(shards).hexdigest()[:16]}.jsonl"
            self._folder.create(name, shards)
            run = {"schema": SCHEMA, "settings": now, "shards": name}
            if not self._folder.create(_RUN, dump(run, indent=1).encode("utf-8", "surrogatepass")):
                run = self._read(_RUN) or run  # another worker was faster
        self._compare(run, now)
        lines = self._folder.read(run["shards"]).decode("utf-8", "surrogatepass").strip("\n").split("\n")
        return [Shard.from_dict(json.loads(line)) for line in lines]

    def done(self) -> set[str]:
        """Shards that are done."""
        return self._marked("done")

    def failed(self) -> set[str]:
        """Shards that were given up."""
        return self._marked("failed")

    def is_done(self, shard: Shard) -> bool:
        """Whether a shard is done by now; another worker may have finished it since the list was read."""
        return self._read(_marker("done", shard)) is not None

    def begin_attempt(self, shard: Shard) -> int | None:
        """Record an attempt at a shard; returns its number, or None if no more are allowed."""
        prefix = f"{PRIVATE}/attempts/{shard.id}."
        noted = [int(name.removeprefix(prefix)) for name in self._folder.find(prefix)]
        for number in range(max(noted, default=0) + 1, self._tries + 1):
            name = f"{prefix}{number}"
            note = dump({"time": round(time.time()), "by": secrets.token_hex(8)}).encode()
            # If writing a note failed but took effect, the second try finds its own note.
            if self._folder.create(name, note) or self._folder.read(name) == note:
                return number
        return None

    def is_last(self, number: int) -> bool:
        """Whether this is the last attempt."""
        return number >= self._tries

    def take_back(self, shard: Shard, number: int) -> None:
        """Remove an attempt that was stopped on request, which says nothing about its shard."""
        self._folder.remove(f"{PRIVATE}/attempts/{shard.id}.{number}")

    def commit(
        self, shard: Shard, files: Mapping[str, bytes], counts: Counts, is_whole: Callable[[str, bytes], bool]
    ) -> None:
        """Write a shard's files, and the marker last.

        Args:
            shard: The shard.
            files: Its files by name.
            counts: Counts of its rows.
            is_whole: Whether an existing file, written by another attempt, is complete and can be kept.
        """
        described = []
        for name, data in files.items():
            if not self._folder.create(name, data):
                there = self._folder.read(name)
                if there != data and not is_whole(name, there):
                    self._folder.replace(name, data)
                else:
                    data = there
            described.append(OutputFile.of(name, data))
        marker = {"shard": shard.id, "files": [asdict(file) for file in described], **asdict(counts)}
        self._folder.create(_marker("done", shard), dump(marker).encode())

    def give_up(self, shard: Shard, error: str) -> None:
        """Record that a shard is not tried again."""
        self._folder.create(_marker("failed", shard), dump({"shard": shard.id, "error": error}).encode())

    def forget(self, shards: Iterable[str]) -> None:
        """Allow shards that were done or given up to be tried again."""
        for shard in shards:
            self._folder.remove(_SUCCESS)
            for name in list(self._folder.find(f"{PRIVATE}/attempts/{shard}.")):
                self._folder.remove(name)
            for what in ("done", "failed"):
                self._folder.remove(f"{PRIVATE}/{what}/{shard}.json")

    def lost(self, files: Mapping[str, Iterable[str]]) -> set[str]:
        """Shards with missing files, given the file names of each shard."""
        folders = {name.rpartition("/")[0] for names in files.values() for name in names}
        there = {name for folder in folders for name in self._folder.find(f"{folder}/" if folder else "")}
        return {shard for shard, names in files.items() if not there.issuperset(names)}

    def counts(self, shards: Iterable[str]) -> Counts:
        """The counts of some finished shards."""
        total = Counts()
        for shard in shards:
            marker = self._read(f"{PRIVATE}/done/{shard}.json") or {}
            total += Counts(marker["rows"], marker["ok"], marker["errors"], marker["cut"])
        return total

    def why_failed(self, shard: str) -> str:
        """Why a shard was given up."""
        return str((self._read(f"{PRIVATE}/failed/{shard}.json") or {}).get("error", "no reason was noted"))

    def finish(self, shards: Sequence[Shard]) -> bool:
        """Mark the run as complete if all of its shards are done."""
        if {shard.id for shard in shards} - self.done():
            return False
        self._folder.create(_SUCCESS, b"")
        return True

    def _marked(self, what: str) -> set[str]:
        prefix = f"{PRIVATE}/{what}/"
        return {name.removeprefix(prefix).removesuffix(".json") for name in self._folder.find(prefix)}

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            data = self._folder.read(name)
        except FileNotFoundError:
            return None
        try:
            value: dict[str, Any] = json.loads(data)
        except ValueError as error:
            raise ClipError(
                f"{self._folder.at(name)} is damaged: {error}", hint="remove it, and run the same command again"
            ) from error
        return value

    def _refuse_strangers(self) -> None:
        for name in self._folder.find():
            # Unless another worker has begun the run, and done some of it, since this one looked.
            if not name.startswith(f"{PRIVATE}/") and self._read(_RUN) is None:
                raise UsageError(
                    f"{self._folder.path} holds {name}, but not a run of this program",
                    hint="give an empty folder, or one that does not exist",
                    parameter="output",
                    value=self._folder.path,
                )

    def _compare(self, run: Mapping[str, Any], now: Settings) -> None:
        if run.get("schema") != SCHEMA:
            raise UsageError(f"{self._folder.path} was begun by another version of this program")
        before = run["settings"]
        for name in {**before, **now}:
            if before.get(name) != now.get(name):
                then, today = _said(name, before), _said(name, now)
                raise UsageError(
                    f"{self._folder.path} was begun with {then}{f', not with {today}' if today != then else ''}",
                    hint="give the options it was begun with, or another folder",
                    parameter="output",
                    value=self._folder.path,
                )


def _said(name: str, settings: Settings) -> str:
    """A setting as errors show it: with its value if that is short, as a parameter if it is one."""
    value = settings.get(name)
    if value in (None, []):
        return f"no {name}" if " " in name else f"no `{name}`"
    if isinstance(value, list) or len(str(value)) > 60:
        return f"other {name}" if " " in name else f"another `{name}`"
    return f"`{name}={value!r}`"


def _marker(what: str, shard: Shard) -> str:
    return f"{PRIVATE}/{what}/{shard.id}.json"
