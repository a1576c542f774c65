"""Engines: who does which shard, and what a cluster's machines offer."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipcli.errors import ClipError, UsageError
from clipcli.scale.inputs.shard import Shard
from clipcli.scale.ledger import Counts, Ledger
from clipcli.scale.on_ray import slots_of
from clipcli.scale.run import Share
from clipcli.scale.stores import Folder
from clipcli.scale.worker import attempt


def node(name: str, cpus: float, gpus: float = 0, *, alive: bool = True) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus}}


def test_slots_of_a_cluster() -> None:
    nodes = [node("gpus", 32, 4), node("cpus", 40), node("small", 2), node("head", 0), node("lost", 8, alive=False)]
    slots = [(slot.node, slot.cpus, slot.gpus) for slot in slots_of(nodes)]
    assert slots == [*[("gpus", 8, 1)] * 4, *[("cpus", 13, 0)] * 3, ("small", 2, 0)]
    assert len({(slot.node, slot.number) for slot in slots_of(nodes)}) == 8
    assert [(slot.cpus, slot.gpus) for slot in slots_of([node("odd", 2, 8)])] == [(1, 1), (1, 1)]


def test_shares_are_all_of_it_once() -> None:
    shards = [Shard(str(number), "", "tar", 0) for number in range(17)]
    taken = [shard for number in range(1, 6) for shard in Share(number, 5).take(shards)]
    assert sorted(shard.id for shard in taken) == sorted(shard.id for shard in shards)
    assert Share.parse("2/3").take(shards) == shards[1::3]


def failing(error: BaseException) -> "Callable[[Shard], tuple[dict[str, bytes], Counts]]":
    def answer(shard: Shard) -> tuple[dict[str, bytes], Counts]:
        raise error

    return answer


def test_what_counts_as_an_attempt(tmp_path: Path) -> None:
    shard, ledger = Shard("00000", "s.tar", "tar", 0), Ledger(Folder(str(tmp_path)), 2)
    attempts = tmp_path / ".clip" / "attempts"
    for stopped in (KeyboardInterrupt(), UsageError("a model that is missing")):
        with pytest.raises(type(stopped)):
            attempt(shard, ledger, failing(stopped))
        assert list(attempts.iterdir()) == []
    assert attempt(shard, ledger, failing(OSError("503"))).state == "again"
    assert [path.name for path in attempts.iterdir()] == ["00000.1"]
    report = attempt(shard, ledger, failing(OSError("503 again")))
    assert (report.state, ledger.why_failed("00000")) == ("failed", "503 again")
    ledger.forget(["00000"])
    with pytest.raises(ZeroDivisionError):  # a bug, which this shard may have met
        attempt(shard, ledger, failing(ZeroDivisionError()))
    assert [path.name for path in attempts.iterdir()] == ["00000.1"]


def test_an_output_that_another_attempt_left_is_kept_only_if_it_is_whole(tmp_path: Path) -> None:
    shard, ledger = Shard("00000", "s.tar", "tar", 0), Ledger(Folder(str(tmp_path)))
    mine = {"data/00000.npy": b"mine"}
    for there, is_whole, kept in ((b"of another", True, b"of another"), (b"torn", False, b"mine")):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "00000.npy").write_bytes(there)
        ledger.commit(shard, mine, Counts(1, 1), lambda name, data, whole=is_whole: whole)
        assert (tmp_path / "data" / "00000.npy").read_bytes() == kept
        (tmp_path / ".clip/done/00000.json").unlink()


def test_damaged_books_are_named(tmp_path: Path) -> None:
    ledger = Ledger(Folder(str(tmp_path)))
    shards = [Shard(f"{number:05d}", "s.tar", "tar", random.randrange(9)) for number in range(3)]
    assert ledger.begin({"a": (1, 2)}, lambda: shards) == shards
    assert ledger.begin({"a": [1, 2]}, lambda: []) == shards
    (tmp_path / ".clip" / "run.json").write_text("{")
    with pytest.raises(ClipError, match=r"run\.json"):
        ledger.begin({"a": [1, 2]}, lambda: shards)
