import base64
import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from clipcli.errors import ImageError
from clipcli.images.decode import DecodeOptions
from clipcli.library.report.page import report, thumbnail

RUN = {"version": "1.2", "model": "some/<model>", "label_set": "pets", "labels": ["not", "needed"]}


def tagged(path: Path, *tags: tuple[str, float]) -> dict[str, Any]:
    labels = [{"label": label, "score": score, "cosine": 0.1} for label, score in tags]
    return {"path": str(path), "status": "ok", "tags": labels}


def write(tmp_path: Path, rows: list[dict[str, Any]]) -> str:
    return "".join(report(iter(rows), RUN, str(tmp_path), DecodeOptions()))


def rows_of(page: str) -> list[dict[str, Any]]:
    match = re.search(r'id="rows">(.*?)</script>', page, re.DOTALL)
    assert match
    return [json.loads(line) for line in match[1].strip().splitlines()]


def save(path: Path, size: tuple[int, int] = (300, 200)) -> Path:
    Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    return path


def decoded(uri: str) -> Image.Image:
    assert uri.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_rows_in_order_with_thumbnail_tags_and_link(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    first, second = save(tmp_path / "sub" / "a b#.png"), save(tmp_path / "c.jpg")
    got = rows_of(write(tmp_path, [tagged(first, ("dog", 0.912345), ("cat", 0.5)), tagged(second)]))
    assert [row["path"] for row in got] == [str(first), str(second)]
    assert got[0]["tags"] == [{"label": "dog", "score": 0.9123}, {"label": "cat", "score": 0.5}]
    assert got[1]["tags"] == []
    assert unquote(got[0]["href"]) == "sub/a b#.png"
    assert "#" not in got[0]["href"]
    assert decoded(got[0]["thumbnail"]).size == (144, 96)


def test_nothing_in_the_data_can_end_its_element(tmp_path: Path) -> None:
    label = "</script><script>alert(1)</script>"
    page = write(tmp_path, [tagged(save(tmp_path / "a.png"), (label, 0.5))])
    assert rows_of(page)[0]["tags"][0]["label"] == label
    assert page.count("</script>") == 3
    assert "alert(1)</script>" not in page
    assert "some/\\u003cmodel>" in page


def test_failures_and_images_that_have_vanished_since(tmp_path: Path) -> None:
    failed = {"path": "bad.jpg", "status": "error", "error": {"type": "UnreadableImage", "message": "bad.jpg: empty"}}
    first, second = rows_of(write(tmp_path, [failed, tagged(tmp_path / "gone.jpg", ("dog", 0.9))]))
    assert first == {"path": "bad.jpg", "error": "bad.jpg: empty"}
    assert "gone.jpg" in second["error"]


def test_the_page_names_no_address(tmp_path: Path) -> None:
    page = write(tmp_path, [tagged(save(tmp_path / "a.png"))])
    assert not re.search(r"https?://|src=|@import|url\(", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("size", [(2000, 1500), (144, 144), (10, 4000), (1, 1)])
def test_a_thumbnail_is_at_most_8_kb_whatever_the_image(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    noise = [Image.effect_noise(size, 200) for _ in range(3)]
    Image.merge("RGB", noise).save(path, compress_level=0)
    uri = thumbnail(str(path), DecodeOptions())
    assert len(uri) <= 8192
    assert max(decoded(uri).size) <= 144


def test_a_thumbnail_is_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (200, 100))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    width, height = decoded(thumbnail(str(tmp_path / "turned.jpg"), DecodeOptions())).size
    assert height > width


def test_no_thumbnail_of_what_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(ImageError):
        thumbnail(str(tmp_path / "a.jpg"), DecodeOptions())


def test_many_rows_stay_in_order(tmp_path: Path) -> None:
    image = save(tmp_path / "a.jpg", (20, 20))
    got = rows_of(write(tmp_path, [tagged(image, (str(i), 0.5)) for i in range(200)]))
    assert [row["tags"][0]["label"] for row in got] == [str(i) for i in range(200)]


def test_thumbnails_beyond_a_number_are_files_that_the_page_links_to(tmp_path: Path) -> None:
    image = save(tmp_path / "a b.jpg")
    rows = [tagged(image, ("dog", 0.5)) for _ in range(5)]
    folder = tmp_path / "my page-thumbnails"
    page = "".join(report(rows, RUN, str(tmp_path), DecodeOptions(), thumbnails=str(folder), most_embedded=3))
    thumbnails = [row["thumbnail"] for row in rows_of(page)]
    assert [uri.startswith("data:") for uri in thumbnails] == [True] * 3 + [False] * 2
    assert Image.open(tmp_path / unquote(thumbnails[4])).size == (144, 96)
    assert sorted(path.name for path in folder.iterdir()) == ["4.jpg", "5.jpg"]


def test_the_page_says_when_with_what_and_from_which_score_on(tmp_path: Path) -> None:
    run = {**RUN, "labels": ["dog", "cat"], "thresholds": [0.5, 0.00012]}
    page = "".join(report([], run, str(tmp_path), DecodeOptions()))
    match = re.search(r'id="run">(.*?)</script>', page)
    assert match
    about = json.loads(match[1])
    assert about["thresholds"] == {"dog": 0.5, "cat": 0.00012}
    assert about["date"] and about["model"] == "some/<model>"
