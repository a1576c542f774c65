"""`clip score`: whole texts, in the order given."""

import json
from pathlib import Path

import numpy as np
import pytest

import clipcli
from tests.cli.conftest import Clip
from tests.helpers.schemas import check_document, check_rows

TEXTS = ("--text", "a cat on grass", "--text", "two dogs", "--text", "a red car")


def test_the_numbers_are_what_they_are_called(clip: Clip, images: Path, clip_checkpoint: Path) -> None:
    model = clipcli.load(str(clip_checkpoint))
    cosines = model.encode_images(sorted(images.iterdir())) @ model.encode_texts(TEXTS[1::2]).T
    outcome = clip("score", images, *TEXTS)
    assert outcome.status == 0 and "warning" not in outcome.stderr
    check_rows("clipcli.score-2", outcome.rows)
    for row, expected in zip(outcome.rows, cosines, strict=True):
        assert [entry["text"] for entry in row["scores"]] == list(TEXTS[1::2])
        exps = np.exp(expected * model.logits.scale)
        assert [entry["cosine"] for entry in row["scores"]] == pytest.approx(expected, abs=1e-5)
        assert [entry["logit"] for entry in row["scores"]] == pytest.approx(expected * model.logits.scale, abs=1e-4)
        assert [entry["score"] for entry in row["scores"]] == pytest.approx(exps / exps.sum(), abs=1e-5)


def test_one_text_has_no_score(clip: Clip, images: Path) -> None:
    outcome = clip("score", images, "--text", "a cat")
    check_rows("clipcli.score-2", outcome.rows)
    assert all(row["scores"][0].keys() == {"text", "cosine", "logit"} for row in outcome.rows)


def test_the_order_of_texts_only_permutes(clip: Clip, images: Path) -> None:
    one = clip("score", images, "--text", "a cat", "--text", "a dog").rows
    other = clip("score", images, "--text", "a dog", "--text", "a cat").rows
    for row, swapped in zip(one, other, strict=True):
        for entry, same in zip(row["scores"], reversed(swapped["scores"]), strict=True):
            assert entry["text"] == same["text"]
            assert entry["cosine"] == pytest.approx(same["cosine"], abs=1e-5)
            assert entry["score"] == pytest.approx(same["score"], abs=1e-5)


def test_texts_are_not_put_into_a_template(clip: Clip, images: Path) -> None:
    score = clip("score", images, "--text", "cat").rows[0]["scores"][0]
    bare = clip("classify", images, "-l", "cat,dog", "--no-template").rows[0]["predictions"]
    assert score["cosine"] == pytest.approx({p["label"]: p["cosine"] for p in bare}["cat"], abs=1e-5)


def test_the_document(clip: Clip, images: Path) -> None:
    document = json.loads(clip("score", images, "nowhere.jpg", *TEXTS, "--json").stdout)
    check_document("clipcli.score-2", document)
    assert document["run"]["labels"] == list(TEXTS[1::2])
    assert document["summary"] == {"images": 4, "ok": 3, "failed": 1}


def test_csv_ranks_the_texts(clip: Clip, images: Path) -> None:
    header, *lines = clip("score", images / "a.png", *TEXTS, "-f", "csv").stdout.splitlines()
    assert header == "path,rank,text,score,cosine,logit,status,error"
    rows = [line.split(",") for line in lines]
    assert [row[2] for row in rows] == list(TEXTS[1::2])
    best_first = sorted(rows, key=lambda row: float(row[5]), reverse=True)
    assert [row[1] for row in best_first] == ["1", "2", "3"]


def test_a_text_that_is_too_long_is_cut_with_a_warning(clip: Clip, images: Path) -> None:
    outcome = clip("score", images, "--text", "dog " * 200)
    assert outcome.status == 0
    assert outcome.stderr.startswith("clip: warning: text 'dog dog")
