"""The report in a real browser. Needs chromium and chromedriver: run with -m slow."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipcli.images.decode import DecodeOptions
from clipcli.labels.truth.tables import from_table
from clipcli.library.report.page import report
from tests.helpers.browser import Browser, browsing

pytestmark = pytest.mark.slow

RUN = {"version": "0", "model": "tiny", "label_set": "pets"}
IMAGES = 5000


@pytest.fixture
def browser() -> Iterator[Browser]:
    with browsing() as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for i in range(20):
        Image.effect_noise((300, 200), 60).convert("RGB").save(folder / f"{i}.jpg")
    page = folder / "report.html"
    page.write_text("".join(report((row(folder, i) for i in range(IMAGES)), RUN, str(folder), DecodeOptions())))
    return page


def row(folder: Path, i: int) -> dict[str, Any]:
    path = str(folder / f"{i % 20}.jpg")
    if i % 100 == 99:
        return {"path": path, "status": "error", "error": {"type": "UnreadableImage", "message": f"<b>{path}"}}
    tags = [
        {"label": "cat", "score": i / IMAGES, "cosine": 0.2},
        {"label": "a </script> dog", "score": 0.5, "cosine": 0},
    ]
    return {"path": path, "status": "ok", "tags": tags[: i % 3]}


def test_it_opens_filters_and_scrolls_without_a_word_on_the_console(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("return document.getElementById('count').value") == "4950 of 4950 images"
    assert browser.run("return document.querySelector('#failures summary').textContent") == "50 failed"
    assert browser.run("return document.querySelectorAll('#failures li')[0].textContent").startswith("<b>")
    drawn = "return document.querySelectorAll('figure').length"
    first = browser.run(drawn)
    assert 0 < first < 500
    assert browser.run(
        "return [...document.querySelectorAll('figure img')].every(i => i.complete && i.naturalWidth > 0)"
    )
    browser.run("document.getElementById('more').scrollIntoView()")
    time.sleep(1)
    assert browser.run(drawn) > first

    browser.run("const t = document.getElementById('tag'); t.value = 'cat'; t.dispatchEvent(new Event('input'))")
    with_cat = [i for i in range(IMAGES) if i % 100 != 99 and i % 3 >= 1]
    assert browser.run("return document.getElementById('count').value") == f"{len(with_cat)} of 4950 images"
    browser.run("const s = document.getElementById('score'); s.value = 0.9; s.dispatchEvent(new Event('input'))")
    high = [i for i in with_cat if round(i / IMAGES, 4) >= 0.9]
    assert browser.run("return document.getElementById('count').value") == f"{len(high)} of 4950 images"
    labels = browser.run("return [...new Set([...document.querySelectorAll('.tag span')].map(s => s.textContent))]")
    assert labels == ["cat"]
    widths = browser.run("return [...document.querySelectorAll('.tag b')].map(b => parseFloat(b.style.width))")
    assert widths and min(widths) >= 90
    browser.run("const p = document.getElementById('path'); p.value = 'nowhere'; p.dispatchEvent(new Event('input'))")
    assert browser.run("return document.querySelectorAll('figure').length") == 0
    assert browser.console() == []


SORTED = "return [...document.querySelectorAll('figure')].slice(0, 5).map(f => f.querySelector('.tag i').textContent)"
PRESS = "document.dispatchEvent(new KeyboardEvent('keydown', { key: '%s', bubbles: true }))"


def test_state_in_the_address_sorting_and_clicks_on_tags(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('.tag').click()")
    assert browser.run("return document.getElementById('tag').value") == "cat"
    browser.run("const s = document.getElementById('sort'); s.value = 'high'; s.dispatchEvent(new Event('input'))")
    scores = [float(text) for text in browser.run(SORTED)]
    assert scores[0] == 1.0 and scores == sorted(scores, reverse=True)
    assert browser.run("return location.hash") == "#tag=cat&sort=high"
    browser.run("location.hash = '#tag=cat&sort=low&score=0.5'")
    time.sleep(0.2)
    assert browser.run(SORTED)[0] == "0.50"
    assert browser.console() == []


def test_the_keyboard_chooses_enlarges_and_searches(browser: Browser, page: Path) -> None:
    browser.open(page)
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        browser.run(PRESS % key)
    chosen = "return [...document.querySelectorAll('figure')].findIndex(f => f.classList.contains('chosen'))"
    assert browser.run(chosen) == 1
    assert browser.run("return document.getElementById('large').open")
    browser.run(PRESS % "ArrowDown")
    assert browser.run(chosen) > 1
    browser.run("document.getElementById('large').close()")
    browser.run(PRESS % "/")
    assert browser.run("return document.activeElement.id") == "path"
    assert browser.console() == []


def test_a_review_is_exported_as_csv(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.getElementById('review').click()")
    for key in ("ArrowRight", "ArrowRight", "y", "ArrowRight", "y", "n", "ArrowRight", "ArrowRight", "n"):
        browser.run(PRESS % key)
    labels = [("1.jpg", "cat"), ("2.jpg", "cat"), ("4.jpg", "none")]  # the only tag of the last one is wrong
    expected = ["path,label", *(f"{page.parent / name},{label}" for name, label in labels)]
    assert browser.run("return csv()").splitlines() == expected
    assert browser.run("return document.getElementById('reviewed').value") == "4 reviewed"
    assert browser.console() == []


def test_an_exported_review_may_be_read_in_any_folder(browser: Browser, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "50% of #1, \u732b.jpg")
    tagged = {"path": "./50% of #1, \u732b.jpg", "status": "ok", "tags": [{"label": "cat", "score": 1, "cosine": 0.2}]}
    (tmp_path / "pages").mkdir()
    with contextlib.chdir(tmp_path):
        page = "".join(report([tagged], RUN, "pages", DecodeOptions()))
    (tmp_path / "pages" / "tags.html").write_text(page)
    browser.open(tmp_path / "pages" / "tags.html")
    browser.run("document.getElementById('review').click()")
    for key in ("ArrowRight", "y"):
        browser.run(PRESS % key)
    saved = tmp_path / "elsewhere.csv"
    saved.write_text(browser.run("return csv()"), encoding="utf-8", newline="")
    assert [item.path for item in from_table(str(saved)).images] == [str(tmp_path / "50% of #1, \u732b.jpg")]


def test_light_and_dark(page: Path) -> None:
    papers = []
    for dark in (False, True):
        with browsing(dark=dark) as browser:
            browser.open(page)
            papers.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert papers == ["rgb(255, 255, 255)", "rgb(23, 23, 26)"]


def test_it_asks_nothing_of_the_network(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("return performance.getEntriesByType('resource').map(e => e.name)") == []
    for call in ("fetch('http://127.0.0.1:9').catch(() => 0)", "new Image().src = 'http://127.0.0.1:9/x.png'"):
        browser.run(call)
    time.sleep(0.5)
    messages = [entry["message"] for entry in browser.console()]
    assert len(messages) >= 2
    assert all("Content Security Policy" in message for message in messages)
