"""The page of `clip serve` in a real browser. Needs chromium and chromedriver: run with -m slow."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import clipcli
from tests.helpers.browser import Browser, browsing
from tests.helpers.served import Served, served

pytestmark = pytest.mark.slow

SAMPLES = Path(clipcli.__file__).parent / "demo" / "samples"
KEY = "a-key-of-more-than-16-letters"
# Puts images of the library into an input of files, as if they had been chosen.
CHOOSE = """
(async (input, names) => {
  const transfer = new DataTransfer();
  for (const [id, name] of names) {
    const headers = { authorization: `Bearer ${sessionStorage.getItem("key")}` };
    const blob = await (await fetch(`/api/thumb/${id}`, { headers })).blob();
    transfer.items.add(new File([blob], name, { type: "image/jpeg" }));
  }
  input.files = transfer.files;
  input.dispatchEvent(new Event("change"));
})(document.getElementById("%s"), %s)
"""
COPY = (
    "navigator.clipboard.writeText = async (text) => { window.copied = text; }; document.getElementById('%s').click()"
)
HITS = "return [...document.querySelectorAll('#hits img')].filter((each) => each.naturalWidth).length"
TOP = "return [...document.querySelectorAll('#cards .scores li:first-child button')].map((each) => each.textContent)"


@pytest.fixture
def browser() -> Iterator[Browser]:
    with browsing(width=420) as started:
        yield started


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    shutil.copytree(SAMPLES, tmp_path / "samples")
    clipcli.Library.create(tmp_path / "samples", model="demo", name=tmp_path / "photos.cliplib").update()
    (tmp_path / "key").write_text(KEY)
    with served("--library", tmp_path / "photos.cliplib", "--api-key-file", tmp_path / "key") as running:
        yield running


def type_into(browser: Browser, name: str, text: str) -> None:
    browser.run(f"const e = document.getElementById('{name}'); e.value = {text!r}; e.dispatchEvent(new Event('input'))")


def test_a_visit(browser: Browser, server: Served) -> None:
    browser.visit(server.address)
    browser.wait_for("return document.getElementById('key-dialog').open")
    assert browser.run("return document.getElementById('key-wrong').hidden")
    browser.run("document.getElementById('key').value = 'x'; document.querySelector('#key-dialog button').click()")
    browser.wait_for("return !document.getElementById('key-wrong').hidden")
    browser.run(f"document.getElementById('key').value = '{KEY}'; document.querySelector('#key-dialog button').click()")
    browser.wait_for("return !document.getElementById('label').hidden")

    type_into(browser, "labels", "cat, dog, it's a pizza")
    browser.run(CHOOSE % ("label-files", "[[5, 'cat.png'], [6, 'my dog.jpg']]"))
    browser.wait_for("return document.querySelectorAll('#cards .scores li').length === 6")
    assert browser.run(TOP) == ["cat", "dog"]
    browser.run("document.querySelector('#cards .scores button').click()")
    browser.wait_for("return document.querySelectorAll('#cards canvas:not([hidden])').length === 1")
    browser.run("document.querySelector('#cards .scores button').click()")
    browser.wait_for("return document.querySelectorAll('#cards canvas:not([hidden])').length === 0")
    browser.run(COPY % "label-copy")
    copied = browser.wait_for("return window.copied")
    assert copied.startswith("clip classify cat.png 'my dog.jpg' --labels 'cat,dog,it'\\''s a pizza'")
    type_into(browser, "labels", "elephant, dog")
    browser.wait_for("return document.querySelectorAll('#cards .scores li').length === 4")

    browser.run("document.getElementById('to-search').click()")
    type_into(browser, "query", "a cat")
    browser.run("document.querySelector('#search-form .strong').click()")
    assert browser.wait_for(HITS) and browser.wait_for(f"{HITS} === 12")
    first = "return document.querySelector('#hits .name').title.split('/').pop()"
    assert browser.run(first) == "cat.png"
    browser.run("document.querySelector('#hits button.image').click()")
    browser.wait_for(f"{HITS} === 11")
    assert browser.run(first) != "cat.png"
    type_into(browser, "query", "an animal")
    assert not browser.run("return document.getElementById('weight-box').hidden")
    browser.run("const w = document.getElementById('weight'); w.value = 80; w.dispatchEvent(new Event('change'))")
    browser.run(COPY % "search-copy")
    assert "--text 'an animal^1.6' --like" in browser.wait_for(
        "return window.copied.includes('search') && window.copied"
    )
    browser.run("history.back()")
    browser.wait_for("return document.getElementById('query').value === ''")

    browser.run("const l = document.getElementById('language'); l.value = 'zh'; l.dispatchEvent(new Event('change'))")
    assert browser.run("return document.documentElement.lang") == "zh"
    assert "查找图片" in browser.run("return document.getElementById('search-title').textContent")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways on a phone"
    unnamed = """return [...document.querySelectorAll('button, input, select, a')]
      .filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.getAttribute('aria-label')
        || e.labels?.[0]?.textContent.trim())).map((e) => e.outerHTML)"""
    assert browser.run(unnamed) == []
    expected = "401"  # the request that found out that a key is needed
    assert [entry["message"] for entry in browser.console() if expected not in entry["message"]] == []


def test_a_folder_is_dropped_and_the_command_keeps_odd_names_apart(browser: Browser, tmp_path: Path) -> None:
    """Where the page came over plain HTTP from another machine, there is no clipboard as elsewhere."""
    inner = tmp_path / "holidays" / "one"
    inner.mkdir(parents=True)
    for name in ("-rf.png", "it's.png"):
        shutil.copy(SAMPLES / "cat.png", inner / name)
    for name in (".hidden.png", "notes.txt"):
        (inner / name).write_text("text")
    with served("--model", "demo") as server:
        browser.visit(server.address)
        browser.wait_for("return !document.getElementById('label').hidden")
        type_into(browser, "labels", '@home, a "cat", dog')
        browser.drop(tmp_path / "holidays")
        browser.wait_for("return document.querySelectorAll('#cards .scores li').length === 6")
        assert "1" in browser.run("return document.getElementById('toast').textContent")
        browser.run("""
            Object.defineProperty(navigator, "clipboard", { value: undefined });
            addEventListener("copy", () => { window.copied = document.activeElement.value; });
        """)
        browser.run("document.getElementById('label-copy').click()")
        copied = browser.wait_for("return window.copied")
        words = ["clip", "classify", "./-rf.png", "it's.png", "--labels", '"@home","a ""cat""",dog', "--model", "demo"]
        assert shlex.split(copied) == words


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Browser) -> None:
    with served("--model", "demo") as server:
        browser.visit(server.address)
        browser.wait_for("return !document.getElementById('label').hidden")
        reached = {}
        for _ in range(6):
            browser.press("\ue004")
            name = browser.run("return document.activeElement.id || document.activeElement.className")
            reached[name] = browser.run(
                "const e = document.activeElement; return getComputedStyle(e.closest('.button') ?? e).outlineStyle"
            )
        assert {"skip", "language", "labels", "question", "label-files"} <= set(reached)
        assert set(reached.values()) == {"solid"}
