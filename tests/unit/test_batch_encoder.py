"""`BatchEncoder`: batches of every kind come back with the columns that a model adds."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as arrow
import pytest

import clipcli
from clipcli.errors import UsageError
from tests.helpers.scenes import scene
from tests.helpers.shards import png


@pytest.fixture(scope="module")
def encoder(clip_checkpoint: Path) -> "clipcli.BatchEncoder":
    return clipcli.BatchEncoder(str(clip_checkpoint), text_column="caption")


@pytest.fixture(scope="module")
def expected(clip_checkpoint: Path) -> Any:
    model = clipcli.load(str(clip_checkpoint), cache=False)
    images = model.encode_images([scene(number) for number in range(3)])
    return images, (images * model.encode_texts(["one", "two", "one"])).sum(axis=1)


IMAGES = [png(0), {"bytes": png(1), "path": None}, np.asarray(scene(2)), b"not an image", None]
CAPTIONS = ["one", "two", "one", "two", "two"]


def test_dicts_of_arrays(encoder: "clipcli.BatchEncoder", expected: Any) -> None:
    images = np.empty(5, dtype=object)
    images[:] = IMAGES
    done = encoder({"image": images, "caption": np.array(CAPTIONS), "n": np.arange(5)})
    assert done["n"].tolist() == list(range(5))
    assert np.allclose(done["embedding"][:3], expected[0], atol=1e-5)
    assert np.allclose(done["cosine"][:3], expected[1], atol=1e-5)
    assert [error is None for error in done["error"]] == [True, True, True, False, False]
    assert np.isnan(done["embedding"][3:]).all() and np.isnan(done["cosine"][3:]).all()


def test_frames(encoder: "clipcli.BatchEncoder", expected: Any) -> None:
    frame = pandas.DataFrame({"image": IMAGES, "caption": CAPTIONS}, index=[9, 8, 7, 6, 5])
    done = encoder(frame)
    assert list(frame.columns) == ["image", "caption"]
    assert list(done.columns) == list(encoder.meta(frame).columns)
    assert done.index.tolist() == [9, 8, 7, 6, 5]
    assert np.allclose(np.stack(done["embedding"][:3]), expected[0], atol=1e-5)


def test_tables(encoder: "clipcli.BatchEncoder", expected: Any) -> None:
    table = arrow.table({"image": [png(0), png(1), b"x"], "caption": ["one", "two", " "]})
    done = encoder(table)
    assert done.column_names == ["image", "caption", "embedding", "error", "cosine"]
    assert done["embedding"].to_pylist()[2] is None and done["cosine"].to_pylist()[2] is None
    assert np.allclose(done["cosine"].to_pylist()[:2], expected[1][:2], atol=1e-5)


def test_it_travels_without_its_model(encoder: "clipcli.BatchEncoder") -> None:
    encoder({"image": [png(0)], "caption": ["one"]})
    packed = pickle.dumps(encoder)
    assert len(packed) < 1000
    again = pickle.loads(packed)({"image": [png(0)], "caption": ["one"]})
    assert np.isfinite(again["embedding"]).all()


def test_a_column_that_does_not_exist(encoder: "clipcli.BatchEncoder") -> None:
    with pytest.raises(UsageError, match="'image'"):
        encoder({"picture": [png(0)]})
