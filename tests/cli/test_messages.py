"""What people are told, and how: on terminals of all kinds, in pipes, by names that hold control characters."""

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from clipcli.cli.shell import progress
from clipcli.cli.shell.boundary import say
from clipcli.cli.shell.help import split_help
from clipcli.cli.shell.terminal import can_redraw, printable, wants_colour
from clipcli.settings import config_file
from man import generate
from tests.cli.conftest import Clip, Program
from tests.helpers import messages
from tests.helpers.scenes import scene
from tests.helpers.shards import tar_bytes

LABELS = ("-l", "cat,dog")
BLOCKS = re.compile("[\u2500-\u259f⠀-⣿]")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
WAIT_S = 60


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


class Screen:
    """A terminal of 80 columns that keeps all that is written to it."""

    def __init__(self) -> None:
        self._keyboard, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._written = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                block = os.read(self._keyboard, 1 << 16)
            except OSError:  # Linux says so when the last writer is gone
                return
            if not block:
                return
            self._written += block

    def text(self) -> str:
        os.close(self.end)
        self._reader.join(WAIT_S)
        os.close(self._keyboard)
        return self._written.decode().replace("\r\n", "\n")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(program: Program, clip: Clip, images: Path) -> Run:
    """Run `clip` with its streams named in `terminals` on terminals of their own; features are remembered already."""
    assert clip("classify", images, *LABELS, "-q").status == 0

    def run(*arguments: object, terminals: tuple[str, ...] = (), **environment: str) -> tuple[int, str, str]:
        screens = {name: Screen() for name in terminals}
        settings = {"TERM": "xterm-256color", **environment}
        streams = {name: screen.end for name, screen in screens.items()}
        process = program(*arguments, environment=settings, **streams)
        written = dict(zip(("stdout", "stderr"), process.communicate(timeout=WAIT_S), strict=True))
        shown = {name: (screens[name].text() if name in screens else written[name].decode()) for name in written}
        return process.returncode, shown["stdout"], shown["stderr"]

    return run


BOTH = ("stdout", "stderr")


def test_a_terminal_gets_color_and_bars_wherever_stderr_goes(run: Run, images: Path) -> None:
    status, stdout, stderr = run("classify", images, "nowhere.jpg", *LABELS, terminals=("stdout",))
    assert status == 3
    assert "\x1b[1mimage" in stdout and "█" in stdout and "\x1b[31mnowhere.jpg" in stdout
    assert stderr.startswith("clip: 4 images in ") and " 1 failed\n" in stderr


def test_nothing_is_drawn_where_a_pager_may_draw(run: Run, images: Path) -> None:
    """`clip ... | less`: the terminal belongs to whoever reads stdout, unless something failed."""
    status, stdout, stderr = run("classify", images, *LABELS, "--no-cache", terminals=("stderr",))
    assert (status, stderr) == (0, "")
    assert "\x1b" not in stdout and len(stdout.splitlines()) == 3
    assert " 1 failed" in run("classify", images, "nowhere.jpg", *LABELS, terminals=("stderr",))[2]


def test_a_summary_on_stderr(run: Run, images: Path, tmp_path: Path) -> None:
    status, stdout, stderr = run("classify", images, *LABELS, "-o", tmp_path / "rows", terminals=("stderr",))
    assert status == 0
    assert stdout == "" and "3 images in " in stderr


def test_no_color_leaves_bars_but_no_color(run: Run, images: Path, tmp_path: Path) -> None:
    status, stdout, stderr = run("classify", images, *LABELS, terminals=BOTH, NO_COLOR="1")
    assert status == 0
    assert "\x1b" not in stdout and "█" in stdout
    status, _, stderr = run("classify", images, *LABELS, "-o", tmp_path / "rows", terminals=BOTH, NO_COLOR="1")
    assert status == 0
    assert "3 images" in stderr and not COLOUR.search(stderr)


def test_an_empty_no_color_is_as_good_as_none(run: Run, images: Path) -> None:
    assert COLOUR.search(run("classify", images, *LABELS, terminals=BOTH, NO_COLOR="")[1])


@pytest.mark.parametrize("setting", [{"FORCE_COLOR": "1"}, {"CLICOLOR_FORCE": "1"}])
def test_color_can_be_asked_for_in_a_pipe(setting: dict[str, str], run: Run, images: Path) -> None:
    status, stdout, stderr = run("classify", images, *LABELS, "-f", "table", **setting)
    assert status == 0 and "\x1b" not in stderr
    assert "\x1b[1mimage" in stdout and "█" in stdout
    assert not COLOUR.search(run("classify", images, *LABELS, "-f", "table", **setting, NO_COLOR="1")[1])
    assert "\x1b" not in run("classify", images, *LABELS, "-f", "jsonl", **setting)[1]


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_gets_lines_of_words(term: str, run: Run, images: Path, tmp_path: Path) -> None:
    """Also what a screen reader has: no colour, no bars, no cursor that moves."""
    status, stdout, stderr = run("classify", images, "nowhere.jpg", *LABELS, terminals=BOTH, TERM=term)
    assert status == 3
    assert "\x1b" not in stdout + stderr and "\r" not in stdout + stderr
    assert not BLOCKS.search(stdout + stderr)
    assert stdout.split()[:5] == ["image", "label", "score", "cosine", "logit"]
    quiet = run("classify", images, *LABELS, "-o", tmp_path / "x", "--no-cache", terminals=BOTH, TERM=term)
    assert quiet[:2] == (0, "") and "\x1b" not in quiet[2] and not BLOCKS.search(quiet[2])
    for arguments in (("models", "list"), ("labels", "list"), ("cache", "info")):
        shown = run(*arguments, terminals=BOTH, TERM=term)[1]
        assert shown.splitlines() and "\x1b" not in shown and not BLOCKS.search(shown)


def test_a_pipe_gets_lines_of_words(run: Run, images: Path) -> None:
    status, stdout, stderr = run("classify", images, *LABELS, "-f", "table")
    assert status == 0 and stderr.startswith("clip: 3 images in ")
    assert "\x1b" not in stdout and not BLOCKS.search(stdout)


@pytest.mark.parametrize("flag", ["--no-progress", "--quiet"])
def test_no_progress_means_none(flag: str, run: Run, images: Path, tmp_path: Path) -> None:
    status, stdout, stderr = run("tag", images, *LABELS, "-o", tmp_path / "x", flag, terminals=BOTH)
    assert (status, stdout) == (0, "")
    assert "\x1b" not in stderr and not BLOCKS.search(stderr)


@pytest.mark.parametrize("arguments", [("--help",), (), ("classify", "-h")])
def test_help_is_plain_on_every_terminal(arguments: tuple[str, ...], run: Run) -> None:
    _, stdout, stderr = run(*arguments, terminals=BOTH, FORCE_COLOR="1")
    assert stdout + stderr
    assert "\x1b" not in stdout + stderr and not BLOCKS.search(stdout + stderr)


@pytest.mark.parametrize("arguments", [("clasify",), ("classify", "x.jpg"), ("models", "path", "none")])
def test_errors_are_red_where_colors_are(arguments: tuple[str, ...], run: Run) -> None:
    assert run(*arguments, terminals=BOTH)[2].startswith("\x1b[1;31mclip: error:\x1b[0m ")
    assert "\x1b" not in run(*arguments, terminals=BOTH, NO_COLOR="1")[2] + run(*arguments)[2]


def test_a_terminal_gets_errors_broken_between_words(run: Run) -> None:
    path = "/nowhere/" + "long-name-" * 12
    plain = run("models", "path", path)[2]
    shown = run("models", "path", path, terminals=BOTH, NO_COLOR="1")[2]
    assert shown.split() == plain.split()
    assert path in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if path not in line)
    long = run("classify", "x.jpg", *LABELS, "-m", "vit-l14", "--offline", terminals=BOTH, NO_COLOR="1")[2]
    assert len(long.splitlines()) > 4 and "downl oad" not in long


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        (("models", "list"), ("chinese-l14-336", "download", "1.63 GB")),
        (("labels", "list"), ("image-medium", "templates", "What kind of image it is")),
        (("labels", "show", "pets", "--prompts"), ("guinea pig",)),
    ],
    ids=lambda value: " ".join(value),
)
@pytest.mark.parametrize("columns", [40, 80])
def test_lists_are_readable_on_narrow_terminals(
    columns: int, arguments: tuple[str, ...], whole: tuple[str, ...], clip: Clip
) -> None:
    shown = clip(*arguments, "-f", "table", COLUMNS=str(columns)).stdout
    assert all(len(line) <= columns for line in shown.splitlines())
    assert all(words in shown for words in whole)


ESCAPES = "\x1b[31mred\x9b2J\u202egpj"
ESCAPED = r"\x1b[31mred\x9b2J\u202egpj"


@pytest.fixture
def odd_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{ESCAPES}.yaml").write_text("labels: [cat, dog]\n")
    Path(f"bad{ESCAPES}.yaml").write_text("labls: [cat]\n")
    Path(f"{ESCAPES}.jpg").write_text("text")


@pytest.mark.usefixtures("odd_places")
@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", f"{ESCAPES}.jpg", *LABELS, "-f", "table"),
        ("classify", "x.jpg", "-s", f"bad{ESCAPES}.yaml"),
        ("classify", "x.jpg", *LABELS, "-o", f"{ESCAPES}/x"),
        ("classify", "x.jpg", *LABELS, "-m", ESCAPES),
        ("classify", "x.jpg", *LABELS, "-m", f"./{ESCAPES}"),
        ("classify", "x.jpg", *LABELS, "-d", ESCAPES),
        ("classify", "x.jpg", *LABELS, "-f", ESCAPES),
        ("classify", f"--{ESCAPES}"),
        ("classify", "--from-file", ESCAPES, *LABELS),
        ("score", "x.jpg", "--text", ESCAPES, "--text", ESCAPES),
        (ESCAPES,),
        ("labels", "check", f"{ESCAPES}.yaml"),
        ("labels", "check", f"bad{ESCAPES}.yaml"),
        ("tag", "--undo", ESCAPES),
    ],
    ids=lambda value: " ".join(value).replace(ESCAPES, "ESC"),
)
def test_control_characters_do_not_reach_the_terminal(arguments: tuple[str, ...], clip: Clip) -> None:
    outcome = clip(*arguments, NO_COLOR="1", COLUMNS="120")
    shown = outcome.stdout + outcome.stderr
    assert ESCAPED in shown or r"\x1b[31mred" in shown
    assert [line for line in shown.splitlines() if not line.isprintable()] == []


def test_what_is_said_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nclip: error: made up", hint="b\rc", details=["d\te"])
    assert capsys.readouterr().err == "clip: a\\nclip: error: made up\n  hint: b\\rc\n  d\\te\n"


def test_json_holds_no_raw_control_character(clip: Clip) -> None:
    stdout = clip("classify", f"{ESCAPES}\x7f.jpg", *LABELS, "-q").stdout
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", stdout)


@pytest.mark.parametrize(
    "text", ["naïve", "鸟 全角\u3000", "שלום", "می\u200cخواهم", "👨\u200d👩\u200d👧 ❤️", "e\u0301 ก็", "\u00a0"]
)
def test_letters_of_all_scripts_are_printable(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("environment", "terminal", "colour", "redraw"),
    [
        ({}, True, True, True),
        ({"NO_COLOR": "1"}, True, False, True),
        ({"NO_COLOR": ""}, True, True, True),
        ({"TERM": "dumb"}, True, False, False),
        ({}, False, False, False),
        ({"FORCE_COLOR": "1"}, False, True, False),
        ({"FORCE_COLOR": "0"}, False, False, False),
        ({"FORCE_COLOR": ""}, False, False, False),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True, True, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False, True),
    ],
)
def test_what_a_stream_is_offered(
    environment: dict[str, str], terminal: bool, colour: bool, redraw: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    stream = Tty() if terminal else io.StringIO()
    assert (wants_colour(stream), can_redraw(stream)) == (colour, redraw)


@pytest.fixture(params=["pipe", "dumb", "no bars"])
def no_bar(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[io.StringIO, bool]:
    """A stderr where a download shows no bar, and whether bars were welcome."""
    monkeypatch.setenv("TERM", "dumb" if request.param == "dumb" else "xterm")
    stream = io.StringIO() if request.param == "pipe" else Tty()
    return stream, request.param != "no bars"


def test_a_download_without_a_bar_is_announced_once(no_bar: tuple[io.StringIO, bool]) -> None:
    stream, bars = no_bar
    with redirect_stderr(stream), progress.download_bar("openai/clip-vit-base-patch32", bars=bars) as report:
        assert stream.getvalue() == ""
        for done in (0, 1_000_000, 605_000_000):
            report(done, 605_000_000)
    assert stream.getvalue() == "clip: fetching openai/clip-vit-base-patch32 (605 MB)\n"


def test_a_quiet_download_is_not(no_bar: tuple[io.StringIO, bool]) -> None:
    stream, bars = no_bar
    with redirect_stderr(stream), progress.download_bar("x/y", quiet=True, bars=bars) as report:
        report(0, 100)
    assert stream.getvalue() == ""


def test_messages_are_those_of_the_golden_file() -> None:
    """Wording is asserted here and nowhere else; `make messages` writes the file anew, and its diff is to be read."""
    assert messages.golden() == messages.GOLDEN.read_text(encoding="utf-8")


def test_messages_begin_small_and_end_without_a_full_stop() -> None:
    names = re.compile(r"[A-Z_]{2}|CLIP|Pillow|HEIC")
    said = list(messages.messages())
    assert len(said) > 500
    assert [(place, text) for place, text in said if text[:1].isupper() and not names.match(text)] == []
    assert [(place, text) for place, text in said if re.search(r"(?<!\.\.)\.$", text)] == []


def test_no_message_blames_or_shouts() -> None:
    words = re.compile(r"\b(invalid|illegal|you must|you did|failed to|oops|sorry|please|fatal|unexpected)\b", re.I)
    assert [(place, text) for place, text in messages.messages() if words.search(text)] == []


EXAMPLES = dict.fromkeys(
    example for _, command in sorted(generate.commands().items()) for example in split_help(command.help)[1]
)
# These need the network, a file of other programs, the time of a benchmark, or are there with one more option.
ELSEWHERE = re.compile(
    r"tags.jsonl$|pull|rm |models convert|vit-|ViT-|altclip|cuda|models default c|^clip bench|clip models verify|"
    r"library create /media|^clip serve"
)


LIBRARIES = tuple(f"clip library {name}" for name in ("update", "check", "compact", "info ~"))


def write_tables(example: str) -> None:
    """The tables and lists that an example names, in the working folder."""
    label = "beach" if "scenes" in example else "cat"
    Path("labels.csv").write_text(f"path,label,split\nimg.jpg,{label},val\nposter.png,{label},val\n")
    Path("captions.csv").write_text("path,caption\nimg.jpg,a cat\nposter.png,a dog\n")
    Path("CuPL_prompts.json").write_text('{"cat": ["a small cat."], "dog": ["a large dog."]}')
    Path("descriptors_pets.json").write_text('{"cat": ["whiskers"], "dog": ["a long tongue"]}')


@pytest.mark.parametrize("example", [example for example in EXAMPLES if not ELSEWHERE.search(example)])
def test_examples_run_as_they_are_printed(
    example: str, clip: Clip, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.environ["HOME"])
    monkeypatch.chdir(tmp_path)
    image = (images / "a.png").read_bytes()
    for place in (home / "photos", tmp_path / "labeled" / "cat", tmp_path / "labeled" / "dog"):
        place.mkdir(parents=True)
        (place / "a.jpg").write_bytes(image)
    (home / "inbox").mkdir()
    (home / "inbox" / "b.jpg").write_bytes(image)
    for name in ("img.jpg", "poster.png", "beach.jpg"):
        Path(name).write_bytes(image)
    write_tables(example)
    config_file().parent.mkdir(parents=True)
    config_file().write_text('[profile.work]\ndevice = "cpu"\n')
    for number, place in enumerate(("grades/A", "grades/B", "my-pets/cat", "my-pets/dog")):
        Path(place).mkdir(parents=True)
        scene(number).save(Path(place) / "1.png")
    (tmp_path / "data").mkdir()
    files = [(f"{'0' * 32}.{field}", data) for field, data in (("png", image), ("txt", b"a cat"))]
    (tmp_path / "data" / "0.tar").write_bytes(tar_bytes(files))
    if example.startswith("clip filter"):
        assert clip("score", "--pairs", "data/0.tar", "--output", "scores/").status == 0
    for name in ("archive", "work"):
        if f"--library {name}" in example or f"info {name}" in example or f"index {name}" in example:
            assert clip("library", "create", home / "photos", "--library", name).status == 0
    if example.startswith(LIBRARIES):
        assert clip("library", "create", home / "photos").status == 0
    for folder in (tmp_path, home / ".config" / "clipcli" / "prompts"):
        folder.mkdir(parents=True, exist_ok=True)
        if "labels new" not in example and "labels import" not in example:
            (folder / "my-labels.yaml").write_text('labels: [cat, dog]\ntemplates: ["a {}."]\n')
    words = re.search(r"clip (.*?)(?=[|)]|$)", example)
    assert words is not None
    arguments = [os.path.expanduser(word) for word in shlex.split(words[1])]
    arguments = [
        str(path)
        for word in arguments
        for path in (sorted(Path("/").glob(word[1:])) if "*" in word and word.startswith("/") else [word])
    ]
    outcome = clip(*arguments, stdin=image)
    assert outcome.status == 0, outcome.stderr
