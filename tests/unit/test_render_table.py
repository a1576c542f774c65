"""The table: aligned by terminal cells in every script, readable at 80 and 200 columns."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.cells import cell_len

from clipcli.cli.output.destination import Destination
from clipcli.cli.output.shapes import CLASSIFIED, SCORED, TAGGED, Shape
from clipcli.cli.output.table import TableRenderer
from clipcli.results import Classification, Failure, ImageTextScores, Prediction, Tag, TaggedImage, TextScore

ENGLISH = ("cat", "dog", "a bicycle leaning on a wall")
CHINESE = ("猫", "一只在草地上奔跑的金毛寻回犬", "自行车和a bike")
LONG = tuple(f"label number {i} " + "with many words " * 10 for i in range(3))
PATHS = ("a.jpg", "/home/me/images/2024/summer holidays/DSC_0001.JPG", "照片/去年夏天的旅行/海边的日落和朋友们.jpg")


def image(path: str, labels: Sequence[str], best: float = 0.9) -> Classification:
    scores = [best, *[(1 - best) / 2] * 2]
    predictions = tuple(
        Prediction(name, score, -0.2718 if i else 0.2718, -100.0 if i else 27.18)
        for i, (name, score) in enumerate(zip(labels, scores[: len(labels)], strict=True))
    )
    return Classification(path, predictions[0].label, predictions[0].score, predictions)


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def terminal_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")


def render(
    records: Sequence[Any],
    labels: Sequence[str],
    shape: Shape[Any] = CLASSIFIED,
    stream: io.BytesIO | None = None,
) -> list[str]:
    stream = Terminal() if stream is None else stream
    renderer = TableRenderer(Destination(stream, "standard output"), shape)
    renderer.start({"labels": list(labels)})
    renderer.write(records[:2])
    if records[2:]:
        renderer.write(records[2:])
    renderer.finish({})
    return stream.getvalue().decode().splitlines()


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize("labels", [ENGLISH, CHINESE, LONG], ids=["english", "chinese", "long"])
def test_every_number_ends_in_the_same_cell(
    columns: int, labels: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    head, *lines = render([image(path, labels) for path in PATHS], labels)
    lines = [line for line in lines if line]
    assert all(cell_len(line) <= cell_len(head) <= columns for line in lines)
    with_numbers = [line for line in lines if cell_len(line) == cell_len(head)]
    assert len(with_numbers) == 3 * 3
    for word in ("cosine", "score"):
        end = cell_len(head[: head.index(word) + len(word)])
        for line in with_numbers:
            assert _cut(line, end)[-1].isdigit()
            assert _cut(line, end + 1)[-1] == " "


def _cut(line: str, cells: int) -> str:
    kept = ""
    for character in line:
        if cell_len(kept + character) > cells:
            break
        kept += character
    return kept


def columns_of(lines: Sequence[str]) -> tuple[str, str]:
    """What stands under "image" and under "label", put together again."""
    left, right = lines[0].index("label"), lines[0].index("score")
    images, labels = [], []
    for line in lines[1:]:
        images.append(_cut(line, left).strip())
        labels.append(_cut(line, right)[len(_cut(line, left)) :].rstrip(" " + "▏▎▍▌▋▊▉█"))
    return "".join(images), " ".join("".join(labels).split())


@pytest.mark.parametrize("labels", [CHINESE, LONG], ids=["chinese", "long"])
@pytest.mark.parametrize("path", PATHS)
def test_at_80_columns_nothing_is_lost(path: str, labels: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = render([image(path, labels)], labels)
    shown_path, shown_labels = columns_of(lines)
    assert shown_path.replace(" ", "") == path.replace(" ", "")
    assert shown_labels.replace(" ", "") == "".join(labels).replace(" ", "")


def test_a_long_path_goes_on_below_beside_the_other_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = render([image(PATHS[1], ("cat", "dog", "cow"))], ("cat", "dog", "cow"))
    assert len(lines) == 1 + 3
    assert lines[1].startswith("/home/me/images/2024/summer holidays/  ")
    assert lines[2].startswith("DSC_0001.JPG  ")


@pytest.mark.parametrize("columns", [20, 40, 50, 59])
def test_narrow_terminals_get_paths_on_lines_of_their_own(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    records = [image(PATHS[1], ENGLISH), Classification("x.jpg", error=Failure("MissingFile", "x.jpg: no such file"))]
    lines = render(records, ENGLISH)
    assert all(cell_len(line) <= max(columns, 40) for line in lines)
    assert lines[0] == "image"
    assert lines[1].split() == ["label", "score", "cosine", "logit"]
    assert all(len(line.split()) >= 4 for line in lines if "0.2718" in line)
    text = "".join(lines)
    assert PATHS[1] in text
    assert lines[-2:] == ["x.jpg", "  no such file"]


@pytest.mark.parametrize("term", ["dumb", "unknown", None])
def test_where_no_bar_can_be_drawn_there_are_words_and_numbers(
    term: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dumb terminal, or none at all: what a screen reader is given."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR")
    if term is not None:
        monkeypatch.setenv("TERM", term)
    lines = render([image(PATHS[0], ENGLISH)], ENGLISH, stream=Terminal() if term else io.BytesIO())
    assert "".join(lines).isascii() and "".join(lines).isprintable()
    assert lines[0].split() == ["image", "label", "score", "cosine", "logit"]
    assert lines[1].split() == ["a.jpg", "cat", "0.900", "0.2718", "27.18"]


def test_joined_emoji_combining_marks_and_spaces_of_all_widths_stay_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    labels = ("👨\u200d👩\u200d👧 family", "cafe\u0301 \u0e01\u0e47", "全角\u3000空白")
    head, *lines = render([image("a.jpg", labels)], labels)
    assert [cell_len(line) for line in lines] == [cell_len(head)] * 3
    for label in labels:
        assert any(label in line for line in lines)


def test_right_to_left_labels_do_not_pull_their_numbers_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two left-to-right marks, a terminal that turns Hebrew around leaves the rest of the line alone."""
    monkeypatch.setenv("COLUMNS", "80")
    labels = ("חתול", "قطة", "می\u200cخواهم")
    head, *lines = render([image("a.jpg", labels)], labels)
    assert [cell_len(line) for line in lines] == [cell_len(head)] * 3
    for line, label in zip(lines, labels, strict=True):
        assert f"\u200e{label}\u200e" in line
    assert "\u200e" not in "".join(render([image("a.jpg", ENGLISH)], ENGLISH))


def test_at_200_columns_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for labels in (ENGLISH, CHINESE):
        text = "\n".join(render([image(path, labels) for path in PATHS], labels))
        assert "…" not in text
        assert all(path in text for path in PATHS)
        assert all(label in text for label in labels)


def test_short_labels_leave_their_room_to_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = "images/2024/summer/" + "x" * 12 + ".jpg"
    lines = render([image(path, ("cat", "dog", "cow"))], ("cat", "dog", "cow"))
    assert lines[1].startswith(path)


def test_a_bar_is_as_long_as_its_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    bars = {}
    for best in (0.0, 0.25, 0.5, 1.0):
        line = render([image("a.jpg", ENGLISH, best)], ENGLISH)[1]
        bars[best] = line.count("█")
    assert bars[0.0] == 0
    assert bars[1.0] == 2 * bars[0.5] == 4 * bars[0.25] > 0


def test_a_failure_is_readable_beside_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    message = "bad.jpg: truncated JPEG (at 14 of 80 kB), which is what a download leaves that was broken off half way"
    lines = render([Classification("bad.jpg", error=Failure("UnreadableImage", message))], ENGLISH)
    left = lines[1].index("truncated")
    assert lines[1].startswith("bad.jpg ")
    assert len(lines) > 2
    assert all(line[:left].strip() == "" for line in lines[2:])
    assert all(cell_len(line) <= 80 for line in lines)
    assert " ".join(line[left:].strip() for line in lines[1:]) == message.removeprefix("bad.jpg: ")


def test_a_name_cannot_move_the_cursor() -> None:
    text = "\n".join(render([image("\x1b[2Jevil\r\n.jpg", ("a\x07b", "c", "d"))], ("a\x07b", "c", "d")))
    assert "\x1b" not in text
    assert "\r" not in text
    assert r"\x1b[2Jevil\r\n.jpg" in text
    assert r"a\x07b" in text


@pytest.mark.parametrize("name", ["\x9b31mred.jpg", "exe\u202egpj.jpg", "a\u2028b.jpg", "a\x7fb.jpg"])
def test_nor_can_it_turn_the_direction_or_look_like_another(name: str) -> None:
    text = "".join(render([image(name, ENGLISH)], ENGLISH))
    assert text.isprintable()
    assert name.encode("unicode_escape").decode() in text


def test_markup_in_names_is_text() -> None:
    text = "\n".join(render([image("[red]x[/red] :smile:.jpg", ("[bold]cat", "dog", "cow"))], ("[bold]cat",)))
    assert "[red]x[/red] :smile:.jpg" in text
    assert "[bold]cat" in text


def test_a_number_that_one_image_lacks_is_a_dash() -> None:
    with_none = Classification("a.jpg", "cat", None, (Prediction("cat", None, 0.27, 27.0),))
    lines = render([with_none, image("b.jpg", ["cat"])], ["cat"])
    (line,) = [line for line in lines if line.startswith("a.jpg")]
    assert line.split()[-3:] == ["-", "0.2700", "27.00"]


def test_a_column_without_a_number_is_left_out() -> None:
    lines = render([Classification("a.jpg", "cat", None, (Prediction("cat", None, 0.27, 27.0),))], ["cat"])
    assert [line.split()[-2:] for line in lines] == [["cosine", "logit"], ["0.2700", "27.00"]]
    head = [Classification("a.jpg", "cat", 0.9, (Prediction("cat", 0.9, None, 27.0),))]
    assert render(head, ["cat"])[0].split() == ["image", "label", "score", "logit"]
    tagged = [TaggedImage("a.jpg", (Tag("cat", 0.9, 0.3),))]
    assert render(tagged, ["cat"], TAGGED)[0].split() == ["image", "label", "score", "cosine"]


def test_the_folder_of_all_images_stands_above_them_once() -> None:
    paths = [f"/home/me/photos/2024/{name}" for name in ("a.jpg", "summer/b.jpg", "c.jpg")]
    lines = render([image(path, ENGLISH[:1]) for path in paths], ENGLISH[:1])
    assert lines[0] == "in /home/me/photos/2024/"
    assert [line.split()[0] for line in lines[2:]] == ["a.jpg", "summer/b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    "paths", [["photos/a.jpg"], ["a.jpg", "b.jpg"], ["/a.jpg", "b/c.jpg"], ["ab/c.jpg", "a/c.jpg"]]
)
def test_images_without_a_folder_of_their_own_are_shown_whole(paths: list[str]) -> None:
    lines = render([image(path, ENGLISH[:1]) for path in paths], ENGLISH[:1])
    assert [line.split()[0] for line in lines] == ["image", *paths]


def test_an_image_outside_the_folder_above_is_shown_whole() -> None:
    paths = ["photos/a.jpg", "photos/b.jpg", "elsewhere/photos/c.jpg"]
    lines = render([image(path, ENGLISH[:1]) for path in paths], ENGLISH[:1])
    assert [line.split()[0] for line in lines[2:]] == ["a.jpg", "b.jpg", "elsewhere/photos/c.jpg"]


def test_blocks_of_several_lines_are_apart() -> None:
    labels = ("cat", "dog", "cow")
    several = [image(path, labels) for path in ("a.jpg", "b.jpg", "c.jpg")]
    text = [bool(line) for line in render(several, labels)]
    assert text == [True, *[True] * 3, False, *[True] * 3, False, *[True] * 3]
    single = [image(path, ENGLISH[:1]) for path in ("a.jpg", "b.jpg", "c.jpg")]
    assert "" not in render(single, ENGLISH[:1])


def test_texts_keep_their_order() -> None:
    scores = (TextScore("a dog", 0.1, 10.0, 0.1), TextScore("a cat", 0.3, 30.0, 0.9))
    lines = render([ImageTextScores("a.jpg", scores)], ["a dog", "a cat"], SCORED)
    assert lines[0].split() == ["image", "text", "score", "cosine", "logit"]
    assert ["a dog" in lines[1], "a cat" in lines[2]] == [True, True]
