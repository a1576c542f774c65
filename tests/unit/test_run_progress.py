"""What is shown of a run while it lasts, and what it is summed up to."""

import io
import threading
import time
from collections import Counter
from contextlib import redirect_stderr

import pytest

from clipcli.cli.output.csv import separated
from clipcli.cli.output.shapes import CLASSIFIED, TAGGED
from clipcli.cli.output.summary import Tally, skipped_text
from clipcli.cli.shell.run_progress import duration, run_progress
from clipcli.errors import ClipError
from clipcli.results import Classification, Failure, Tag, TaggedImage


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

    with run_progress(shown=True, clock=clock) as progress:
        progress.loading("vit-b32")
        progress.images(400, count_all)
        assert counted.wait(10)
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.daemon:
                thread.join(1)
        for _ in range(9):
            clock.now += 10
            progress.advance(200)
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
        with run_progress(shown=True, clock=clock) as progress:
            progress.images(0, count_all)
            clock.now += 31
            progress.advance(62)
        assert capsys.readouterr().err == "clip: 62 images, 2.0/s\n"


def test_nothing_is_counted_or_said_where_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def count_all() -> int:
        raise AssertionError("not asked for")

    clock = Clock()
    with run_progress(shown=False, clock=clock) as progress:
        progress.loading("vit-b32")
        progress.images(0, count_all)
        clock.now += 100
        progress.advance(5)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 min 0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def tagged(count: int) -> TaggedImage:
    return TaggedImage("a.jpg", (Tag("cat", 0.9, 0.3),) * count)


def test_the_summary() -> None:
    tally = Tally(TAGGED, cached=1)
    tally.add([tagged(2), tagged(0)])
    tally.add([TaggedImage("a.jpg", error=Failure(kind, "why")) for kind in ("MissingFile", "X", "X")])
    tally.sidecars.update(written=2)
    tally.started -= 2
    assert tally.headline() == "5 images in 2.0 s (2.5/s), 1 from cache, 3 failed"
    assert tally.details() == [
        "tags      2, none on 1 image",
        "sidecars  2 written",
        "failures  2 X, 1 MissingFile; the rows say why",
    ]
    assert tally.counts == {"images": 5, "ok": 2, "failed": 3}
    tally.recount([{"status": "ok", "tags": [1]}] * 7)
    assert (tally.images, tally.before, tally.tags, tally.failed) == (7, 2, 7, 0)
    assert tally.headline() == "7 images, 2 of them finished before, 1 from cache"


def test_a_summary_of_labels_names_images_without_one() -> None:
    tally = Tally(CLASSIFIED)
    tally.add([Classification("a.jpg", "cat", 0.9), Classification("b.jpg")])
    assert tally.details() == ["label     none on 1 image"]


def test_files_that_are_passed_over_are_counted_by_type() -> None:
    assert skipped_text(Counter({".pdf": 1})) == "skipped 1 file that is not an image: 1 .pdf"
    types = Counter({".txt": 9, "without a suffix": 4, ".a": 3, ".b": 2, ".c": 2, ".d": 1, ".e": 1})
    assert skipped_text(types) == (
        "skipped 22 files that are not images: 9 .txt, 4 without a suffix, 3 .a, 2 .b, 2 .c, 2 others"
    )


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_terminal_shows_what_is_loaded_once_that_takes_a_while(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    screen = Tty()
    deadline = time.monotonic() + 60
    with redirect_stderr(screen), run_progress(shown=True) as progress:
        progress.loading("vit-b32")
        assert "loading" not in screen.getvalue()
        while "loading vit-b32" not in screen.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert ("\x1b" in screen.getvalue()) == (term == "xterm")


def test_a_bar_has_the_number_of_images_and_makes_room_for_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Tty()
    deadline = time.monotonic() + 60
    with redirect_stderr(screen), run_progress(shown=True) as progress:
        progress.loading("vit-b32")
        progress.images(2, lambda: 40)
        progress.advance(3)
        while "5/40" not in screen.getvalue():
            assert time.monotonic() < deadline
            progress.advance(0)
            with progress.writing():
                drawn = screen.getvalue()
                time.sleep(0.15)
                assert screen.getvalue() == drawn, "nothing is drawn between rows"
            time.sleep(0.05)


def test_csv_on_a_terminal_has_no_control_characters() -> None:
    lines = [("a\x1b[2J.jpg", 0.5)]
    assert separated(lines, ",", on_terminal=True) == "a\\x1b[2J.jpg,0.5\n"
    assert separated(lines, ",", on_terminal=False) == "a\x1b[2J.jpg,0.5\n"
