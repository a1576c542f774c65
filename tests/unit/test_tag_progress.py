import threading

import pytest

from clipcli.cli.tagging import progress
from clipcli.cli.tagging.progress import show_progress
from clipcli.cli.tagging.summary import Tally
from clipcli.errors import ClipError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_line_every_30_seconds_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    clock, counted = Clock(), threading.Event()

    def count_all() -> int:
        counted.set()
        return 10_000

    with show_progress(shown=True, done=400, count_all=count_all, clock=clock) as advance:
        assert counted.wait(10)
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.daemon:
                thread.join(1)
        for _ in range(9):
            clock.now += 10
            advance(200)
    assert capsys.readouterr().err.splitlines() == [
        "clip: 1,000 of 10,000 images, 20.0/s, 7 min 30 s left",
        "clip: 1,600 of 10,000 images, 20.0/s, 7 min 0 s left",
        "clip: 2,200 of 10,000 images, 20.0/s, 6 min 30 s left",
    ]


def test_where_the_inputs_cannot_be_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def nothing_there() -> int:
        raise ClipError("no image in here")

    for count_all in (None, nothing_there):
        clock = Clock()
        with show_progress(shown=True, done=0, count_all=count_all, clock=clock) as advance:
            clock.now += 31
            advance(62)
        assert capsys.readouterr().err == "clip: 62 images, 2.0/s\n"


def test_nothing_is_counted_or_said_where_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def count_all() -> int:
        raise AssertionError("not asked for")

    clock = Clock()
    with show_progress(shown=False, done=0, count_all=count_all, clock=clock) as advance:
        clock.now += 100
        advance(5)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 min 0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min")])
def test_durations(seconds: float, text: str) -> None:
    assert progress._duration(seconds) == text


def test_the_summary() -> None:
    tally = Tally(before=1)
    tally.add([{"status": "ok", "tags": [1, 2]}, {"status": "ok", "tags": []}])
    tally.add([{"status": "error", "error": {"type": kind}} for kind in ("MissingFile", "X", "X")])
    tally.sidecars.update(written=2)
    tally.started -= 2
    lines = tally.lines()
    assert lines[0] == "images    5, of which 1 was finished before"
    assert lines[1] == "tags      2, none on 1 image"
    assert lines[2].startswith("speed     2.0 images/s")
    assert lines[3:] == ["sidecars  2 written", "failures  2 X, 1 MissingFile"]
    tally.recount([{"status": "ok", "tags": [1]}] * 7)
    assert (tally.images, tally.before, tally.tags, tally.failed) == (7, 2, 7, 0)
