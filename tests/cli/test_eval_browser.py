"""The page of `clip eval --report` in a real browser. Needs chromium and chromedriver: run with -m slow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipcli.answers.evaluate import evaluate
from clipcli.cli.output.documents import evaluation as shown
from clipcli.images.decode import DecodeOptions
from clipcli.library.report.evaluation import WRONG_IMAGES, evaluation_report
from tests.helpers.browser import Browser, browsing

pytestmark = pytest.mark.slow

IMAGES, LABELS = 50_000, 1000
RIGHT, DOWN, ENTER = "\ue014", "\ue015", "\ue007"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50,000 images of 1,000 labels, of which about a third are wrong; one label's name is an attack."""
    folder = tmp_path_factory.mktemp("report")
    for i in range(10):
        Image.effect_noise((60, 40), 60).convert("RGB").save(folder / f"{i}.png")
    rng = np.random.default_rng(0)
    truth = np.arange(IMAGES) % LABELS
    logits = rng.normal(size=(IMAGES, LABELS)).astype(np.float32)
    logits[np.arange(IMAGES), truth] += 3.5
    names = ["<img src=x onerror=alert(1)>", *(f"label {i}" for i in range(1, LABELS))]
    found = evaluate(names, lambda rows: logits[rows], [(int(i),) for i in truth], resamples=10)
    document: dict[str, Any] = {
        "run": {"version": "0", "model": "tiny", "label_set": "many", "images": "photos", "temperature": 1.0},
        "figures": shown.figures(found),
        "comparison": None,
        "results": shown.label_rows(found),
        "confusions": shown.confusion_rows(found),
        "reliability": shown.reliability_rows(found),
        "summary": {"judged": IMAGES, "labels": LABELS, "labels_without_images": 0, "failed": 0, "unlabelled": 0}
        | {"several_labels": 0},
    }
    paths = [str(folder / f"{i % 10}.png") for i in range(IMAGES)]
    path = folder / "report.html"
    path.write_text(evaluation_report(document, found, paths, str(folder), DecodeOptions()), encoding="utf-8")
    assert path.stat().st_size < 5_000_000
    return path


@pytest.fixture
def browser() -> Iterator[Browser]:
    with browsing() as started:
        yield started


def text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"return document.querySelector({selector!r}).textContent"))


def test_it_shows_figures_labels_and_images_without_a_word_on_the_console(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert "50,000 images, 1,000 labels" in text(browser, "#left")
    assert browser.run("return document.querySelectorAll('#headline tr').length") == 10
    assert browser.run("return document.querySelectorAll('.label').length") == LABELS
    assert browser.run("return document.querySelectorAll('figure').length") == WRONG_IMAGES
    assert browser.run("return document.querySelectorAll('circle').length") > 3
    shares = browser.run("return [...document.querySelectorAll('.label .share')].map(e => parseFloat(e.textContent))")
    assert shares == sorted(shares), "worst first"
    browser.run("const f = document.getElementById('find'); f.value = 'onerror'; f.dispatchEvent(new Event('input'))")
    assert text(browser, "#count") == "1 of 1,000 labels"
    assert text(browser, ".label span").startswith("<img")
    drawn = "const c = document.getElementById('matrix'); return [...c.getContext('2d').getImageData("
    drawn += "0, 0, c.width, c.height).data].filter((v, i) => i % 4 === 2 && v > 0).length"
    assert browser.run(drawn) > 1000
    assert browser.console() == []


def test_the_keyboard_reaches_everything(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.getElementById('matrix').focus()")
    assert text(browser, "#told")
    browser.press(DOWN, DOWN, RIGHT)
    assert " taken for " in text(browser, "#told")
    browser.run("document.querySelector('#pairs button').focus()")
    browser.press(ENTER)
    assert "among those shown here" in text(browser, "#which")
    browser.run("document.getElementById('all').focus()")
    browser.press(ENTER)
    assert browser.run("return document.querySelectorAll('figure').length") == WRONG_IMAGES
    reached = browser.run(
        "return [...document.querySelectorAll('a,button,input,select,canvas')].every(e => e.tabIndex >= 0)"
    )
    assert reached


def test_on_a_phone_nothing_is_wider_than_the_screen(page: Path) -> None:
    with browsing(width=500) as browser:
        browser.open(page)
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")


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
