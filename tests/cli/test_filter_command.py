"""`clip filter`: a share is exact over all shards, and the files are what other programs read."""

from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tests.cli.conftest import Clip
from tests.helpers.shards import write_parquet, write_tars


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "np.typing.NDArray[np.float32]":
    """The scores of 3,000 rows in three files, some missing, some negative, some equal."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    values = np.round(random.normal(0.25, 0.1, 3000), 3).astype(np.float32)
    values[:40] = -values[:40]
    for part in range(3):
        rows = range(1000 * part, 1000 * part + 1000)
        column = [None if row % 100 == 7 else float(values[row]) for row in rows]
        write_parquet(tmp_path / f"{part}.parquet", {"uid": [f"{row:032x}" for row in rows], "cosine": column})
    values[np.arange(3000) % 100 == 7] = np.nan
    return values


@pytest.mark.parametrize("share", [0.3, 0.001, 0.5, 0.999, 1.0])
def test_a_share_is_exact(clip: Clip, scores: "np.typing.NDArray[np.float32]", share: float) -> None:
    done = clip("filter", "*.parquet", "--keep", share)
    known = np.sort(scores[~np.isnan(scores)])[::-1]
    least = known[int(np.ceil(share * len(known))) - 1]
    expected = [f"{row:032x}" for row in range(3000) if scores[row] >= least]
    assert (done.status, done.stdout.split()) == (0, expected)
    assert "2,970 scored" in done.stderr


def test_a_score_and_what_is_written(clip: Clip, scores: "np.typing.NDArray[np.float32]") -> None:
    expected = [row for row in range(3000) if scores[row] >= np.float32(0.28)]
    assert clip("filter", "{0..2}.parquet", "--min", 0.28, "-o", "kept.parquet").status == 0
    table = parquet.read_table("kept.parquet")
    assert table["uid"].to_pylist() == [f"{row:032x}" for row in expected]
    assert np.allclose(table["cosine"], scores[expected])
    assert clip("filter", "{2,0,1}.parquet", "--min", 0.28, "-o", "kept.npy").status == 0
    subset = np.load("kept.npy")
    assert subset.dtype == np.dtype("u8,u8")
    assert [int(row["f1"]) for row in subset] == expected  # sorted, as the resharder needs them


def test_a_run_is_filtered_by_its_folder(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tars(tmp_path, 2, 3)
    for layout, keys in (("parquet", 6), ("datacomp", 6)):
        clip("score", "--pairs", "{00..01}.tar", "-o", f"{layout}/", "--layout", layout)
        done = clip("filter", f"{layout}/", "--keep", 1)
        assert (done.status, len(done.stdout.split())) == (0, keys), done.stderr
    Path("parquet/_SUCCESS").unlink()
    done = clip("filter", "parquet/", "--keep", 0.5)
    for name in ("parquet/", "parquet/data/", "parquet/data"):
        done = clip("filter", name, "--keep", 0.5)
        assert done.status == 1 and "finished" in done.stderr, name
    monkeypatch.chdir("parquet/data")
    done = clip("filter", ".", "--keep", 0.5)
    assert done.status == 1 and "finished" in done.stderr
    assert clip("filter", "*.parquet", "--keep", 0.5).status == 0, "single files are taken as they are"


def test_a_subset_is_what_the_resharder_of_datacomp_reads(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `load_subset` memory-maps the file, and looks uids up by bisection over pairs of their halves."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(2)
    uids = [f"{high:016x}{low:016x}" for high, low in random.integers(0, 2**64, (500, 2), np.uint64)]
    write_parquet(Path("a.parquet"), {"uid": uids, "cosine": random.random(500)})
    assert clip("filter", "a.parquet", "--min", 0.4, "-o", "kept.npy").status == 0
    subset = np.load("kept.npy", mmap_mode="r")
    kept = set(clip("filter", "a.parquet", "--min", 0.4).stdout.split())
    for uid in uids:
        pair = np.array([(int(uid[:16], 16), int(uid[16:], 16))], dtype=np.dtype("u8,u8"))
        place = int(np.searchsorted(subset, pair)[0])
        assert (place < len(subset) and subset[place] == pair[0]) == (uid in kept)
    assert 0 < len(kept) == len(subset) < 500


def test_nothing_to_keep_is_an_empty_table(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_parquet(
        Path("none.parquet"), {"uid": arrow.array([], arrow.large_string()), "cosine": arrow.array([], "float")}
    )
    assert clip("filter", "none.parquet", "--min", 0.3, "-o", "kept.parquet").status == 0
    assert parquet.read_table("kept.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["0.parquet"], 2, "--keep"),
        (["0.parquet", "--keep", "0.3", "--min", "0.2"], 2, "--keep"),
        (["0.parquet", "--keep", "0"], 2, "--keep"),
        (["0.parquet", "--min", "nan"], 2, "--min"),
        (["0.parquet", "./0.parquet", "--keep", "0.3"], 2, "0.parquet"),
        ([".", "0.parquet", "--keep", "0.3"], 2, "0.parquet"),
        (["two.parquet", "--keep", "0.3"], 2, "width, b32"),
        (["0.parquet", "--keep", "1.5"], 2, "--keep"),
        (["9.parquet", "--keep", "0.3"], 1, "9.parquet"),
        (["nowhere/", "--keep", "0.3"], 1, "nowhere"),
        (["0.parquet", "--keep", "0.3", "--score-column", "nope"], 2, "cosine"),
        (["0.parquet", "--keep", "0.3", "--key-column", "nope"], 2, "uid"),
        (["bad.parquet", "--keep", "0.3"], 1, "bad.parquet"),
        (["short.parquet", "--min", "0", "-o", "x.npy"], 2, "32"),
        (["empty.parquet", "--keep", "0.3"], 1, "row"),
        (["junk.parquet", "--keep", "0.3"], 1, "junk.parquet"),
        (["doubled.parquet", "--keep", "0.3"], 2, "cosine"),
        (["0.parquet", "texts.parquet", "--min", "0.3"], 1, "texts.parquet"),
        (["texts.parquet", "--min", "0.3"], 2, "floating-point"),
        (["0.parquet", "numbered.parquet", "--min", "0.3", "-o", "x.parquet"], 1, "numbered.parquet"),
        (["unnamed.parquet", "--min", "0.3"], 1, "missing"),
        (["lines.parquet", "--min", "0.3"], 1, "break"),
        (["raw.parquet", "--min", "0.3"], 1, "UTF-8"),
        (["structs.parquet", "--min", "0.3"], 2, "integers"),
    ],
)
def test_wrong_usage(
    clip: Clip, scores: "np.typing.NDArray[np.float32]", arguments: list[str], status: int, says: str
) -> None:
    Path("bad.parquet").write_bytes(Path("0.parquet").read_bytes()[:-20])
    write_parquet(Path("two.parquet"), {"uid": ["abc"], "width": [300.0], "b32": [0.3]})
    write_parquet(Path("short.parquet"), {"uid": ["abc"], "cosine": [0.5]})
    write_parquet(Path("empty.parquet"), {"uid": ["abc"], "cosine": [float("nan")]})
    Path("junk.parquet").write_bytes(b"PAR1" + bytes(50) + b"PAR1")
    columns = [arrow.array(["a"]), arrow.array([0.5]), arrow.array([0.5])]
    parquet.write_table(arrow.table(columns, names=["uid", "cosine", "cosine"]), "doubled.parquet")
    write_parquet(Path("texts.parquet"), {"uid": ["a"], "cosine": ["0.5"]})
    write_parquet(Path("numbered.parquet"), {"uid": [7], "cosine": [0.5]})
    write_parquet(Path("unnamed.parquet"), {"uid": arrow.array([None], arrow.string()), "cosine": [0.5]})
    write_parquet(Path("lines.parquet"), {"uid": ["a\nb"], "cosine": [0.5]})
    write_parquet(Path("raw.parquet"), {"uid": [b"\xff"], "cosine": [0.5]})
    write_parquet(Path("structs.parquet"), {"uid": [{"a": 1}], "cosine": [0.5]})
    done = clip("filter", *arguments)
    assert (done.status, says in done.stderr) == (status, True), done.stderr
    assert not Path("x.npy").exists() and not Path("x.parquet").exists()
