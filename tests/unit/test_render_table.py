"""The table: aligned by terminal cells in every script, readable at 80 and 200 columns."""

import io
from collections.abc import Sequence

import pytest
from rich.cells import cell_len

from clipcli.cli.render.destination import Destination
from clipcli.cli.render.table import TableRenderer
from clipcli.results import Classification, Failure, ImageTextScores, Prediction, TextScore

ENGLISH = ("cat", "dog", "a bicycle leaning on a wall")
CHINESE = ("猫", "一只在草地上奔跑的金毛寻回犬", "自行车和a bike")
LONG = tuple(f"label number {i} " + "with many words " * 10 for i in range(3))
PATHS = ("a.jpg", "/home/me/pictures/2024/summer holidays/DSC_0001.JPG", "照片/去年夏天的旅行/海边的日落和朋友们.jpg")


def picture(path: str, labels: Sequence[str], best: float = 0.9) -> Classification:
    scores = [best, *[(1 - best) / 2] * 2]
    predictions = tuple(
        Prediction(name, score, -0.2718 if i else 0.2718, -100.0 if i else 27.18)
        for i, (name, score) in enumerate(zip(labels, scores, strict=True))
    )
    return Classification(path, predictions[0].label, predictions[0].score, predictions)


def render(
    records: Sequence[Classification | ImageTextScores], labels: Sequence[str], schema: str = "clipcli.classify/1"
) -> list[str]:
    stream = io.BytesIO()
    renderer = TableRenderer(Destination(stream, "standard output"))
    renderer.start(schema, {"labels": list(labels)})
    renderer.write(records[:2])
    renderer.write(records[2:])
    renderer.finish({})
    return stream.getvalue().decode().splitlines()


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize("labels", [ENGLISH, CHINESE, LONG], ids=["english", "chinese", "long"])
def test_every_number_ends_in_the_same_cell(
    columns: int, labels: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = render([picture(path, labels) for path in PATHS], labels)
    assert len(lines) == 1 + 3 * 3
    assert {cell_len(line) for line in lines} == {cell_len(lines[0])}
    assert cell_len(lines[0]) <= columns
    for word in ("cosine", "score"):
        end = cell_len(lines[0][: lines[0].index(word) + len(word)])
        for line in lines[1:]:
            assert _cut(line, end)[-1].isdigit()
            assert _cut(line, end + 1)[-1] == " "


def _cut(line: str, cells: int) -> str:
    kept = ""
    for character in line:
        if cell_len(kept + character) > cells:
            break
        kept += character
    return kept


def test_at_80_columns_a_path_keeps_its_end_and_a_label_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = render([picture(PATHS[1], LONG)], LONG)
    assert "DSC_0001.JPG" in lines[1]
    assert lines[1].startswith("…")
    assert "label number 0 w" in lines[1]
    assert "…" in lines[1][20:]
    lines = render([picture(PATHS[1], ENGLISH)], ENGLISH)
    assert "olidays/DSC_0001.JPG" in lines[1]


def test_what_is_cut_shows_it_in_every_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path, label = "照片" * 9 + ".jpg", "一只在草地上奔跑的金毛寻回犬"
    line = render([picture(path, (label, "狗", "鸟"))], (label, "狗", "鸟"))[1]
    assert line.startswith("…")
    assert line.split("  ")[1].endswith("…")


def test_at_200_columns_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for labels in (ENGLISH, CHINESE):
        text = "\n".join(render([picture(path, labels) for path in PATHS], labels))
        assert "…" not in text
        assert all(path in text for path in PATHS)
        assert all(label in text for label in labels)


def test_short_labels_leave_their_room_to_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = "pictures/2024/summer/" + "x" * 12 + ".jpg"
    lines = render([picture(path, ("cat", "dog", "cow"))], ("cat", "dog", "cow"))
    assert lines[1].startswith(path)


def test_a_bar_is_as_long_as_its_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    bars = {}
    for best in (0.0, 0.25, 0.5, 1.0):
        line = render([picture("a.jpg", ENGLISH, best)], ENGLISH)[1]
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
    text = "\n".join(render([picture("\x1b[2Jevil\r\n.jpg", ("a\x07b", "c", "d"))], ("a\x07b", "c", "d")))
    assert "\x1b" not in text
    assert "\r" not in text
    assert r"\x1b[2Jevil\r\n.jpg" in text
    assert r"a\x07b" in text


def test_markup_in_names_is_text() -> None:
    text = "\n".join(render([picture("[red]x[/red] :smile:.jpg", ("[bold]cat", "dog", "cow"))], ("[bold]cat",)))
    assert "[red]x[/red] :smile:.jpg" in text
    assert "[bold]cat" in text


def test_scores_that_do_not_exist_are_dashes() -> None:
    lines = render([Classification("a.jpg", "cat", None, (Prediction("cat", None, 0.27, 27.0),))], ["cat"])
    assert lines[1].split()[:2] == ["a.jpg", "cat"]
    assert lines[1].split()[-3:] == ["-", "0.2700", "27.00"]


def test_texts_keep_their_order() -> None:
    scores = (TextScore("a dog", 0.1, 10.0, 0.1), TextScore("a cat", 0.3, 30.0, 0.9))
    lines = render([ImageTextScores("a.jpg", scores)], ["a dog", "a cat"], "clipcli.score/1")
    assert lines[0].split() == ["picture", "text", "score", "cosine", "logit"]
    assert ["a dog" in lines[1], "a cat" in lines[2]] == [True, True]
