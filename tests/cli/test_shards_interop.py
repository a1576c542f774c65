"""What other programs make of a run's output."""

from pathlib import Path

import duckdb
import pandas
import pytest

from tests.cli.conftest import Clip
from tests.helpers.shards import write_tars


def test_duckdb_and_pandas_read_the_output(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tars(tmp_path, 2, 2)
    assert clip("embed", "{00..01}.tar", "-o", "f/", "--keep-columns", "uid").status == 0
    assert clip("classify", "{00..01}.tar", "-l", "cat,dog", "-o", "c/").status == 0
    query = (
        "select uid, status, len(embedding), list_dot_product(embedding, embedding) from 'f/data/*.parquet' order by 1"
    )
    found = duckdb.sql(query).fetchall()
    assert [row[:2] for row in found] == [(f"u{number}", "ok") for number in range(4)]
    assert all(row[3] == pytest.approx(1, abs=1e-5) for row in found)
    frame = pandas.read_parquet("c/data")
    assert frame["label"].isin(["cat", "dog"]).all() and len(frame) == 4
    unnested = duckdb.sql("select count(*) from (select unnest(predictions) p from 'c/data/*.parquet')").fetchall()
    assert unnested == [(8,)]
