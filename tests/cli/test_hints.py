"""Usual slips get the next step: files given as labels, `~` in quotes, URLs, options of other commands, clip help."""

import re
from pathlib import Path

import pytest

from clipcli.cli.shell.boundary import say
from tests.cli.conftest import Clip

LABELS = ("-l", "cat,dog")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    (tmp_path / "mine.yaml").write_text("labels: [cat, dog]\n")
    (tmp_path / "cat").write_text("a file that is called like a label\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("-l", "labels.txt"), "--labels @labels.txt"),
        (("-l", "./labels.txt"), "--labels @./labels.txt"),
        (("-l", "mine.yaml"), "--label-set mine.yaml"),
        (("-l", "@mine.yaml"), "--label-set mine.yaml"),
        (("-s", "labels.txt"), "--labels @labels.txt"),
        (("-s", "./labels.txt"), "--labels @./labels.txt"),
    ],
)
def test_a_file_in_the_wrong_place(arguments: tuple[str, ...], hint: str, clip: Clip, files: Path) -> None:
    outcome = clip("classify", "x.jpg", *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert f"  hint: use {hint}" in outcome.stderr
    assert clip("classify", "x.jpg", *hint.split()).status == 3, "the hint works"


def test_a_label_may_be_called_like_a_file(clip: Clip, images: Path, files: Path) -> None:
    assert clip("classify", images, "-l", "cat").status == 0
    assert clip("classify", images, "-l", "nowhere.txt,cat").status == 0


def test_a_tilde_in_quotes(clip: Clip, images: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(images.parent))
    outcome = clip("classify", f"~/{images.name}/*.png", f"~/{images.name}/b.jpg", *LABELS)
    assert [row["path"] for row in outcome.rows] == [str(images / "a.png"), str(images / "b.jpg")]
    (files / "~").mkdir()
    (files / "~" / "x.png").write_bytes((images / "a.png").read_bytes())
    assert [row["path"] for row in clip("classify", "~/x.png", *LABELS).rows] == ["~/x.png"]


def test_a_url_is_fetched_by_others(clip: Clip, files: Path) -> None:
    url = "https://example.org/a b.jpg"
    outcome = clip("classify", url, *LABELS)
    assert outcome.status == 3
    assert outcome.rows[0]["error"]["type"] == "MissingFile"
    assert outcome.rows[0]["error"]["message"].endswith(f"curl -LO '{url}'")


@pytest.mark.parametrize(
    ("arguments", "owner"),
    [
        (("classify", "x.jpg", "--exclusive", "a"), "`clip tag`"),
        (("tag", "x.jpg", "--none-of-these"), "`clip classify`"),
    ],
)
def test_an_option_of_another_command(arguments: tuple[str, ...], owner: str, clip: Clip) -> None:
    outcome = clip(*arguments)
    assert outcome.status == 2
    assert re.search(rf"hint: .*{owner}.* ha(s|ve) it\n", outcome.stderr)


@pytest.mark.parametrize("words", [(), ("models",), ("models", "pull"), ("classify",)])
def test_help_as_a_command(words: tuple[str, ...], clip: Clip) -> None:
    asked, page = clip("help", *words), clip(*words, "--help")
    assert (asked.status, asked.stdout) == (0, page.stdout)
    assert clip(*words[:1], "help", *words[1:]).stdout == page.stdout or words == ("classify",)


def test_help_of_what_is_not(clip: Clip) -> None:
    outcome = clip("help", "nonsense")
    assert outcome.status == 2 and "nonsense" in outcome.stderr


def test_the_short_version(clip: Clip) -> None:
    assert clip("-V").stdout == clip("--version").stdout != ""


def test_colors_of_an_error(clip: Clip) -> None:
    coloured = clip("classify", "x.jpg", "-l", "", FORCE_COLOR="1").stderr
    assert coloured.startswith("\x1b[1;31mclip: error:\x1b[0m ")
    assert "\n\x1b[2m  hint: " in coloured
    plain = clip("classify", "x.jpg", "-l", "").stderr
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain != coloured


def test_a_name_brings_no_color(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    say("error: \x1b[32mgreen.jpg\x1b[0m", hint="\x1b[32m")
    assert "\x1b[32m" not in capsys.readouterr().err
