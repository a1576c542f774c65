"""What shards hold: whatever is not a whole shard is an error, and never a shorter one."""

import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from clipcli.errors import ClipError, ImageError, MissingFile, UnreadableImage
from clipcli.scale.inputs.divide import divide
from clipcli.scale.inputs.find import expand_braces, find_shards
from clipcli.scale.inputs.open import open_shard
from clipcli.scale.inputs.references import fetched
from clipcli.scale.inputs.shard import Columns, InputRow, MissingText, Shard, ShardError
from clipcli.scale.stores import Folder, locate
from tests.helpers.shards import png, samples, tar_bytes, write_parquet

PLAIN = [("a.png", b"A" * 700), ("a.txt", b"one"), ("b.png", b"B" * 512), ("b.txt", b"two")]


def rows_of(path: Path, columns: Columns | None = None) -> list[InputRow]:
    kinds: dict[str, Any] = {".tar": "tar", ".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}
    store, key = locate(str(path))
    status = store.status(key)
    shard = Shard("0", str(path), kinds[path.suffix], status.size, status.etag)
    with open_shard(shard, columns or Columns()) as opened:
        return list(opened.rows())


def tar(folder: Path, files: list[tuple[str, bytes]] | bytes) -> Path:
    path = folder / "s.tar"
    path.write_bytes(files if isinstance(files, bytes) else tar_bytes(files))
    return path


def test_the_files_of_a_sample_are_one_row(tmp_path: Path) -> None:
    files = [
        ("x/a.jpg", b"1"), ("x/a.cls", b"3\n"), ("x/a.seg.png", b"2"), ("x/a.json", b'{"n": [1, 2], "t": "u"}'),
        ("README", b"skipped"), ("__meta.txt__", b"skipped"), (".DS_Store", b"skipped"), ("x/._b.JPG", b"skipped"),
        ("x/.DS_Store", b"skipped"), ("x/b.JPG", b"4"), ("y.z/c.jpg", b"5"),
        ("d.pkl", b"\x80\x04never read"), ("d.jpg", b"6"),
    ]  # fmt: skip
    rows = rows_of(tar(tmp_path, files), Columns(kept=("cls", "n", "t", "seg.png")))
    assert [(row.key, row.image) for row in rows] == [("x/a", b"1"), ("x/b", b"4"), ("y.z/c", b"5"), ("d", b"6")]
    assert rows[0].kept == {"cls": "3", "n": "[1, 2]", "t": "u", "seg.png": "2"}
    assert rows[1].kept == dict.fromkeys(("cls", "n", "t", "seg.png"))
    named = rows_of(tar(tmp_path, files[:4]), Columns(image="seg.png", key="t", text="t", with_text=True))
    assert [(row.key, row.image, row.text) for row in named] == [("u", b"2", "u")]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_every_format(tmp_path: Path, format: int) -> None:
    name = f"{'f' * 90}/{'k' * 90}.png" if format == tarfile.USTAR_FORMAT else f"{'ü' * 200}/{'k' * 150}.png"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        archive.addfile(tarfile.TarInfo("folder/"), None)
        info = tarfile.TarInfo(name)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert [(row.key, row.image) for row in rows_of(tar(tmp_path, stream.getvalue()))] == [(name[:-4], b"abc")]


def test_a_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    whole = tar_bytes(PLAIN)
    end = len(whole.rstrip(b"\0"))
    blocks = -(-end // 512) * 512 + 1024  # what follows the two empty blocks is padding
    assert len(rows_of(tar(tmp_path, whole[:blocks]))) == 2
    for cut in [*range(0, blocks, 512), *range(1, blocks, 97)]:
        with pytest.raises(ShardError, match="cut"):
            rows_of(tar(tmp_path, whole[:cut]))


def test_a_damaged_block_is_an_error(tmp_path: Path) -> None:
    whole = tar_bytes(PLAIN)
    for start in (0, 1536, 2560, 3584):
        for damage in (b"\xff" * 512, bytes(512), b"\0" * 100 + b"x" * 412):
            data = whole[:start] + damage + whole[start + len(damage) :]
            with pytest.raises(ShardError, match="damaged"):
                rows_of(tar(tmp_path, data))
    with pytest.raises(ShardError, match="zeros"):  # space was set aside for a copy that did not end
        rows_of(tar(tmp_path, whole[:2560] + bytes(2**21)))


def test_what_follows_the_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="damaged"):
        rows_of(tar(tmp_path, tar_bytes(PLAIN) + tar_bytes(PLAIN)))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a.png", "b.png", "a.txt"], "side by side"),
        (["a.png", "a.txt", "b.png", "b.txt", "a.png"], "side by side"),
        (["a.png", "a.png"], "twice"),
        (["a.png", "a.PNG"], "twice"),
    ],
)
def test_scattered_and_doubled_keys(tmp_path: Path, names: list[str], says: str) -> None:
    with pytest.raises(ShardError, match=says):
        rows_of(tar(tmp_path, [(name, b"x") for name in names]))


def test_a_store_that_sends_less_is_tried_again(tmp_path: Path) -> None:
    path = tar(tmp_path, PLAIN)
    shard = Shard("0", str(path), "tar", path.stat().st_size + 512, locate(str(path))[0].status(str(path)).etag)
    whole = path.read_bytes()
    from clipcli.scale.inputs.tar import TarRows

    for cut in (0, 512, 700, 2048, len(whole)):
        with pytest.raises(OSError, match="arrived") as caught:
            list(TarRows(io.BytesIO(whole[:cut]), shard, Columns()).rows())
        assert not isinstance(caught.value, ClipError)


def test_captions(tmp_path: Path) -> None:
    texts: list[Any] = ["a", None, "", "  ", ["b", "c"], []]
    write_parquet(tmp_path / "p.parquet", {"image": [b"x"] * 4, "caption": texts[:4]})
    rows = rows_of(tmp_path / "p.parquet", Columns(with_text=True))
    assert [row.text for row in rows] == ["a", None, None, None]
    assert [isinstance(row.image, MissingText) for row in rows] == [False, True, True, True]
    lines = [json.dumps({"path": "x.png", "caption": text}) for text in texts]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    rows = rows_of(tmp_path / "t.jsonl", Columns(with_text=True))
    assert [row.text for row in rows] == ["a", None, None, None, "b", None]
    damaged = rows_of(tar(tmp_path, [("a.png", b"x"), ("a.txt", b"\xff\xfe")]), Columns(with_text=True))
    assert isinstance(damaged[0].image, MissingText)


def test_parquet_of_every_kind(tmp_path: Path) -> None:
    struct = [{"bytes": b"1", "path": "a.png"}, {"bytes": None, "path": "b.png"}, None, {"bytes": None, "path": None}]
    write_parquet(tmp_path / "s.parquet", {"image": struct})
    rows = rows_of(tmp_path / "s.parquet")
    assert [row.key for row in rows] == ["a.png", "b.png", "2", "3"]
    assert rows[0].image == b"1" and rows[1].image == str(tmp_path / "b.png")
    assert all(isinstance(row.image, MissingFile) for row in rows[2:])
    for type in (arrow.binary(), arrow.large_binary(), arrow.dictionary(arrow.int32(), arrow.binary())):
        write_parquet(tmp_path / "b.parquet", {"jpg": arrow.array([b"1", b"2", b"1"]).cast(type)})
        assert [row.image for row in rows_of(tmp_path / "b.parquet")] == [b"1", b"2", b"1"]
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-9])
    with pytest.raises(ShardError, match="Parquet"):
        rows_of(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    "type", [arrow.list_(arrow.uint8()), arrow.large_list(arrow.uint8()), arrow.list_(arrow.int8())]
)
def test_images_in_lists_of_bytes(tmp_path: Path, type: arrow.DataType) -> None:
    data = [png(0), None, png(1), b""]
    numbers = np.uint8 if type.value_type == arrow.uint8() else np.int8
    cells = [None if cell is None else np.frombuffer(cell, numbers) for cell in data]
    write_parquet(tmp_path / "l.parquet", {"image": arrow.array(cells, type), "text": list("abcd"), "n": [1, 2, 3, 4]})
    rows = rows_of(tmp_path / "l.parquet", Columns(with_text=True, kept=("n",)))
    assert [row.image for row in rows[::2]] == [png(0), png(1)]
    assert isinstance(rows[1].image, MissingFile)
    assert [(row.text, row.kept["n"]) for row in rows] == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]


@pytest.mark.parametrize(
    "type",
    [
        *(arrow.int64(), arrow.float32(), arrow.bool_(), arrow.timestamp("ms"), arrow.decimal128(5), arrow.null()),
        *(arrow.list_(arrow.int64()), arrow.list_(arrow.binary()), arrow.struct([("x", arrow.binary())])),
    ],
    ids=str,
)
def test_a_column_that_cannot_hold_images_is_named_with_its_type(tmp_path: Path, type: arrow.DataType) -> None:
    write_parquet(tmp_path / "x.parquet", {"image": arrow.array([None], type)})
    if arrow.types.is_null(type):
        assert isinstance(rows_of(tmp_path / "x.parquet")[0].image, MissingFile)
        return
    with pytest.raises(ShardError, match=f"column 'image' holds {re.escape(str(type)[:4])}"):
        rows_of(tmp_path / "x.parquet")


def test_a_row_that_names_a_device_or_a_pipe_is_an_error_and_has_an_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty.png").touch()
    paths = ["/dev/zero", "/proc/self/mem", "pipe.png", "empty.png"]
    write_parquet(tmp_path / "p.parquet", {"path": paths})
    for row in fetched(iter(rows_of(tmp_path / "p.parquet"))):
        assert isinstance(row.image, UnreadableImage)


def test_images_that_rows_name_are_fetched(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"A")
    (tmp_path / "folder.png").mkdir()
    lines = ["path,note", "a.png,1", f"{tmp_path}/a.png,2", "no.png,3", "folder.png,4", ",5", "memory://none/x.png,6"]
    lines += ["http://a.example/x.png,7", "nope://x.png,8"]
    (tmp_path / "t.csv").write_text("\r\n".join(lines))
    rows = list(fetched(iter(rows_of(tmp_path / "t.csv", Columns(kept=("note",))))))
    assert [row.kept["note"] for row in rows] == list("12345678")
    assert [row.image for row in rows[:2]] == [b"A", b"A"]
    assert all(isinstance(row.image, ImageError) for row in rows[2:])


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("t.csv", b"", "empty"),
        ("t.csv", b"name,size\nx,1\n", "image_column"),
        ("t.csv", b'path\n"a.png\n', "CSV"),
        ("t.csv", b"path\n\xff\xfe\n", "UTF-8"),
        ("t.csv", b"path,note\ra.png,1\r", "first row"),
        ("t.csv", b"path,text, text\na.png,1,2\n", "'text'"),
        ("t.jsonl", b"{\n", "JSON Lines"),
        ("t.jsonl", b"[1]\n", "object"),
        ("t.parquet", b"", "Parquet"),
        ("t.tar", b"", "cut"),
    ],
)
def test_damaged_tables(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ShardError) as caught:
        rows_of(tmp_path / name)
    assert says in f"{caught.value} {caught.value.hint}"


def test_a_csv_row_with_too_many_cells_is_an_error_and_not_half_a_caption(tmp_path: Path) -> None:
    lines = ["uid,path,text", "1,a.png,a cat, asleep", '2,a.png,"a cat, asleep"', "3,a.png,a cat,,", "4,a.png"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    rows = rows_of(tmp_path / "t.csv", Columns(with_text=True))
    assert [row.key for row in rows] == list("1234")
    assert [row.text for row in rows] == [None, "a cat, asleep", "a cat", None]
    assert isinstance(rows[0].image, UnreadableImage) and isinstance(rows[3].image, MissingText)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    columns = [arrow.array([b"1"]), arrow.array(["one"]), arrow.array(["two"])]
    parquet.write_table(arrow.Table.from_arrays(columns, names=["image", "text", "text"]), tmp_path / "t.parquet")
    with pytest.raises(ShardError, match="'text'"):
        rows_of(tmp_path / "t.parquet")


def test_a_page_that_does_not_match_its_checksum_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    images = {"image": [bytes([number]) * 500 for number in range(9)]}
    write_parquet(path, images, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[data.index(bytes([4]) * 500) + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="integrity"):  # which is tried again: the store's copy may be whole
        rows_of(path)


@pytest.mark.parametrize(
    ("pattern", "expanded"),
    [
        ("a", ["a"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}/{0..1}.tar", ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]),
        ("{000..001},{3..3}", ["000,3", "001,3"]),
        ("{x}", ["{x}"]),
        ("{x}{1,2}", ["{x}1", "{x}2"]),
        ("{{1,2},3}", ["1", "3", "2", "3"]),
    ],
)
def test_braces(pattern: str, expanded: list[str]) -> None:
    assert list(expand_braces(pattern)) == expanded


def test_tables_are_divided_between_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quoted = "\n".join(f'{number}.png,"line\n{number}"' for number in range(7))
    (tmp_path / "t.csv").write_text(f"path,note\n{quoted}\n")
    (tmp_path / "t.jsonl").write_text("\n\n".join(json.dumps({"path": f"{number}.png"}) for number in range(7)))
    write_parquet(tmp_path / "t.parquet", {"path": [f"{number}.png" for number in range(7)]}, row_group_size=2)
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        shards = divide([name], [], Folder(str(tmp_path / "lists")), rows_per_shard=3)
        found = []
        for shard in shards:
            with open_shard(shard, Columns()) as opened:
                found.append([row.key for row in opened.rows()])
        assert [key for part in found for key in part] == [f"{number}.png" for number in range(7)]
        assert [len(part) for part in found] == ([4, 3] if name == "t.parquet" else [3, 3, 1])
        assert [shard.first_row for shard in shards] == ([0, 4] if name == "t.parquet" else [0, 3, 6])


def test_a_shard_that_changed_is_not_read(tmp_path: Path) -> None:
    path = tar(tmp_path, samples([1]))
    (_, _, status), = find_shards([str(path)])  # fmt: skip
    shard = Shard("0", str(path), "tar", status.size, status.etag)
    tar(tmp_path, samples([2]))
    with pytest.raises(ShardError, match="changed"), open_shard(shard, Columns()):
        pass
    path.unlink()
    with pytest.raises(ShardError, match="gone"), open_shard(shard, Columns()):
        pass
