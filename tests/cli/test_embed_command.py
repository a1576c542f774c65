"""`clip embed`: features for other programs."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import clipcli
from clipcli.cli.output.documents.features import npy_header
from tests.cli.conftest import Clip
from tests.helpers.scenes import scene
from tests.helpers.schemas import check_rows


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        scene(number).save(folder / f"{number}.png")
    return folder


def listed(path: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_matrix_and_the_list_beside_it(clip: Clip, photos: Path, clip_checkpoint: Path) -> None:
    assert clip("embed", photos, "-o", "f.npy").status == 0
    rows = listed("f.paths.jsonl")
    assert [row["row"] for row in rows] == list(range(5))
    expected = clipcli.load(str(clip_checkpoint)).encode_images([str(row["path"]) for row in rows])
    assert np.array_equal(np.load("f.npy"), expected)
    assert np.load("f.npy", mmap_mode="r").dtype == np.float32


def test_half_precision_is_for_the_file_alone(clip: Clip, photos: Path) -> None:
    clip("embed", photos, "-o", "f.npy")
    clip("embed", photos, "-o", "h.npy", "--stored-as", "float16")
    assert np.load("h.npy").dtype == np.float16
    assert np.allclose(np.load("h.npy"), np.load("f.npy"), atol=1e-3)


def test_a_run_that_was_cut_off_is_continued(clip: Clip, photos: Path) -> None:
    clip("embed", photos, "-o", "whole.npy")
    clip("embed", photos / "0.png", photos / "1.png", "-o", "f.npy")
    with open("f.npy", "ab") as file:
        file.write(b"\xff" * 10)  # killed in the middle of a row
    with open("f.paths.jsonl", "a") as text:
        text.write('{"row": 2, "pa')
    assert clip("embed", photos, "-o", "f.npy", "--resume").status == 0
    assert np.array_equal(np.load("f.npy"), np.load("whole.npy"))
    assert [row["path"] for row in listed("f.paths.jsonl")] == [row["path"] for row in listed("whole.paths.jsonl")]
    before = os.stat("f.npy").st_size
    assert clip("embed", photos, "-o", "f.npy", "--resume").status == 0
    assert os.stat("f.npy").st_size == before


def test_another_kind_of_file_is_not_continued(clip: Clip, photos: Path) -> None:
    clip("embed", photos, "-o", "f.npy")
    outcome = clip("embed", photos, "-o", "f.npy", "--resume", "--stored-as", "float16")
    assert outcome.status == 2
    assert np.load("f.npy").shape[0] == 5


def test_a_bad_image_has_no_row(clip: Clip, photos: Path) -> None:
    (photos / "2.png").write_bytes(b"no image")
    outcome = clip("embed", photos, "-o", "f.npy")
    assert outcome.status == 3
    assert np.load("f.npy").shape[0] == len(listed("f.paths.jsonl")) == 4
    (failed,) = listed("f.failed.jsonl")
    assert str(failed["path"]).endswith("2.png")
    rows = clip("embed", photos).rows
    check_rows("clipcli.embed-1", rows)
    assert [row["status"] for row in rows].count("error") == 1


def test_texts(clip: Clip, photos: Path, clip_checkpoint: Path) -> None:
    Path("texts.txt").write_text("a cat\n\na car\n", encoding="utf-8")
    rows = clip("embed", "--text", "a dog", "--texts", "texts.txt").rows
    check_rows("clipcli.embed-1", rows)
    assert [row["text"] for row in rows] == ["a dog", "a cat", "a car"]
    expected = clipcli.load(str(clip_checkpoint)).encode_texts(["a dog", "a cat", "a car"])
    assert np.array_equal(np.array([row["features"] for row in rows], dtype=np.float32), expected)


def test_the_header_is_one_that_numpy_reads(tmp_path: Path) -> None:
    for rows in (0, 1, 10**11):
        header = npy_header("<f4", rows, 4)
        assert len(header) == 128
    (tmp_path / "x.npy").write_bytes(npy_header("<f4", 2, 2) + np.arange(4, dtype="<f4").tobytes())
    assert np.load(tmp_path / "x.npy").tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["photos", "--text", "a dog"],
        ["photos", "--format", "npy"],
        ["photos", "--resume"],
        ["photos", "-o", "f.jsonl", "--resume"],
        ["photos", "--layout", "clip-retrieval"],
        ["--texts", "nowhere.txt"],
        [],
    ],
)
def test_wrong_usage(clip: Clip, photos: Path, arguments: list[str]) -> None:
    assert clip("embed", *arguments).status == 2


def test_parquet(clip: Clip, photos: Path) -> None:
    from pyarrow import parquet

    assert clip("embed", photos, "-o", "f.parquet").status == 0
    table = parquet.read_table("f.parquet")
    assert table.column_names == ["path", "digest", "model", "embedding"]
    clip("embed", photos, "-o", "f.npy")
    assert np.array_equal(np.array(table["embedding"].to_pylist(), dtype=np.float32), np.load("f.npy"))


def test_the_folders_of_clip_retrieval(clip: Clip, photos: Path) -> None:
    from pyarrow import parquet

    assert clip("embed", photos, "--layout", "clip-retrieval", "-o", "embeddings").status == 0
    paths = parquet.read_table("embeddings/metadata/metadata_0.parquet")["image_path"].to_pylist()
    assert paths == sorted(map(str, photos.iterdir()))
    assert np.load("embeddings/img_emb/img_emb_0.npy").shape[0] == 5
    assert sorted(path.name for path in Path("embeddings").rglob("*.*")) == ["img_emb_0.npy", "metadata_0.parquet"]
