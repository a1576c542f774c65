"""The ledger of runs over shards under every accident that a cluster has: random schedules on a store in memory.

Workers take turns at each request to the store. They are killed, asked to stop, taken for dead and go on; requests fail
before or after they have worked; shards are handed out twice; everything is started again. At the end a worker to which
nothing happens finishes the run, and all must be as if it had been alone from the beginning.
"""

import hashlib
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from clipcli.errors import UsageError
from clipcli.scale.inputs.shard import Shard
from clipcli.scale.ledger import Counts, Ledger
from clipcli.scale.worker import attempt

_TRIES = 3


class Killed(BaseException):
    """The worker is gone between two instructions."""


class Memory:
    """A store in memory; one that is weak says yes to every create, as some servers do."""

    def __init__(self, chance: random.Random, *, weak: bool) -> None:
        self.objects: dict[str, bytes] = {}
        self.weak = weak
        self.is_repeated = lambda: chance.random() < 0.02


class View:
    """What a worker sees of a store; `turn` is called around each request and may raise."""

    path = "memory"

    def __init__(self, memory: Memory, turn: Callable[[str], None]) -> None:
        self._memory, self._turn = memory, turn

    def at(self, name: str) -> str:
        return name

    def read(self, name: str) -> bytes:
        self._turn("before")
        try:
            return self._memory.objects[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def find(self, prefix: str = "") -> Iterator[str]:
        self._turn("before")
        return iter(sorted(name for name in self._memory.objects if name.startswith(prefix)))

    def create(self, name: str, data: bytes) -> bool:
        self._turn("before")
        memory = self._memory
        is_new = name not in memory.objects
        if is_new or memory.weak:
            memory.objects[name] = data
        if memory.is_repeated():  # the answer was lost, and the client asked again by itself
            is_new = False
        self._turn("after")
        return is_new or memory.weak

    def replace(self, name: str, data: bytes) -> None:
        self._turn("before")
        self._memory.objects[name] = data
        self._turn("after")

    def remove(self, name: str) -> None:
        self._turn("before")
        self._memory.objects.pop(name, None)
        self._turn("after")


def content(shard: Shard) -> bytes:
    """What a shard becomes, always the same."""
    return hashlib.sha256(shard.id.encode()).hexdigest().encode() * 3


class Actor:
    """A worker in a thread, which runs only when it has the turn."""

    def __init__(
        self, memory: Memory, shards: Sequence[Shard], chance: random.Random, finished: threading.Semaphore
    ) -> None:
        self._memory, self._shards, self._chance, self._finished = memory, shards, chance, finished
        self._go = threading.Semaphore(0)
        self.alive, self.bug = True, None
        self.accidents: set[str] = set()
        threading.Thread(target=self._run, daemon=True).start()

    def step(self) -> None:
        """Let it run to its next request."""
        self._go.release()
        self._finished.acquire()

    def _turn(self, when: str) -> None:
        self._finished.release()
        self._go.acquire()
        fate = self._chance.random()
        if fate < 0.02:
            self.accidents.add("killed")
            raise Killed
        if fate < 0.03:
            self.accidents.add("stopped")
            raise KeyboardInterrupt
        if fate < 0.07:
            self.accidents.add("lost" if when == "after" else "refused")
            raise OSError("503 Slow Down")

    def _run(self) -> None:
        self._go.acquire()
        try:
            work(self._memory, View(self._memory, self._turn), self._shards)
        except (Killed, KeyboardInterrupt, OSError):
            pass
        except BaseException as error:
            self.bug = error
        self.alive = False
        self._finished.release()


def work(memory: Memory, view: Any, planned: Sequence[Shard]) -> None:
    """Do what `clip embed` does, from its start to its end."""
    ledger = Ledger(view, _TRIES)
    shards = ledger.begin({"model": "m"}, lambda: planned)
    assert shards == list(planned)
    settled = ledger.done() | ledger.failed()
    queue = [shard for shard in shards if shard.id not in settled]
    while queue:
        shard = queue.pop(0)
        was_done = f".clip/done/{shard.id}.json" in memory.objects

        def answer(shard: Shard, was_done: bool = was_done) -> tuple[dict[str, bytes], Counts]:
            assert not was_done, "work was done again"
            view._turn("before")
            return {f"data/{shard.id}.parquet": content(shard)}, Counts(rows=10, ok=9, errors={"X": 1})

        report = attempt(shard, ledger, answer)
        if report.state == "again":
            queue.append(shard)
    ledger.finish(shards)


def check(memory: Memory, shards: Sequence[Shard]) -> None:
    """Whatever happened: what is marked is whole, and nothing lies beside it."""
    names = {shard.id: shard for shard in shards}
    for name, data in memory.objects.items():
        if name.startswith(".clip/done/"):
            marker = json.loads(data)
            (file,) = marker["files"]
            there = memory.objects[file["name"]]
            assert (len(there), hashlib.sha256(there).hexdigest()) == (file["size"], file["sha256"])
            assert (marker["rows"], marker["ok"], marker["errors"]) == (10, 9, {"X": 1})
        elif name.startswith("data/"):
            assert data == content(names[name[5:10]])
        elif name.startswith(".clip/attempts/"):
            assert 1 <= int(name.rpartition(".")[2]) <= _TRIES
    if "_SUCCESS" in memory.objects:
        assert all(f".clip/done/{id}.json" in memory.objects for id in names)


def trial(chance: random.Random, folder: Path) -> str:
    """Run a schedule; returns which accidents it had."""
    memory = Memory(chance, weak=chance.random() < 0.3)
    shards = [Shard(f"{number:05d}", f"{number}.tar", "tar", 1) for number in range(chance.randint(1, 4))]
    accidents: set[str] = set()
    for _ in range(chance.randint(1, 3)):  # the whole cluster is started again
        finished = threading.Semaphore(0)
        actors = [Actor(memory, shards, chance, finished) for _ in range(chance.randint(1, 4))]
        running = list(actors)
        while running:
            chance.choice(running).step()
            check(memory, shards)
            running = [actor for actor in running if actor.alive]
        for actor in actors:
            accidents |= actor.accidents
            if actor.bug is not None:
                raise actor.bug
    memory.is_repeated = lambda: False  # from here on nothing goes wrong
    view = View(memory, lambda when: None)
    ledger = Ledger(view, _TRIES)  # type: ignore[arg-type]
    ledger.forget(ledger.failed())
    work(memory, view, shards)
    check(memory, shards)
    expected = {"_SUCCESS", *(f"data/{shard.id}.parquet" for shard in shards)}
    given_up = {f"data/{id}.parquet" for id in ledger.failed()}
    assert expected - given_up - {"_SUCCESS"} <= memory.objects.keys()
    if not given_up:
        assert {name for name in memory.objects if not name.startswith(".clip/")} == expected
        assert ledger.counts(shard.id for shard in shards).rows == 10 * len(shards)
    try:
        ledger.begin({"model": "another"}, lambda: shards)
    except UsageError:
        return "weak " * memory.weak + ("+".join(sorted(accidents)) or "nothing")
    raise AssertionError("a run with other settings was not refused")
