"""Commands over shards: one output file per shard, each input row one output row, and runs that go on."""

import gzip
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

import clipcli
from tests.cli.conftest import Clip, Program
from tests.helpers.scenes import scene
from tests.helpers.shards import png, rows_of, sample, samples, tar_bytes, write_parquet, write_tars


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files_of(output: str) -> dict[str, bytes]:
    """A run's output, without its books."""
    found = (path for path in Path(output).rglob("*") if path.is_file() and ".clip" not in path.parts)
    return {str(path.relative_to(output)): path.read_bytes() for path in found}


def test_tars_become_tables(clip: Clip, folder: Path, clip_checkpoint: Path) -> None:
    write_tars(folder, 3, 2)
    done = clip("embed", "{00..02}.tar", "-o", "out/", "--keep-columns", "uid,width")
    assert (done.status, done.stdout) == (0, "")
    rows = rows_of(Path("out"))
    assert [row["key"] for row in rows] == [f"{number:05d}" for number in range(6)]
    assert [row["shard"] for row in rows] == ["00000", "00000", "00001", "00001", "00002", "00002"]
    assert [(row["uid"], row["width"], row["status"]) for row in rows[:2]] == [("u0", "10", "ok"), ("u1", "11", "ok")]
    expected = clipcli.load(str(clip_checkpoint)).encode_images([scene(number) for number in range(6)])
    assert np.allclose([row["embedding"] for row in rows], expected, atol=1e-5)
    assert (Path("out") / "_SUCCESS").exists()


def test_tables_and_folders(clip: Clip, folder: Path) -> None:
    (folder / "photos").mkdir()
    for number in range(5):
        (folder / "photos" / f"{number}.png").write_bytes(png(number))
    lines = ["uid;path;note", *(f'x{number};photos/{number}.png;"one\nline ""{number}"""' for number in range(5))]
    (folder / "t.csv").write_text("\ufeff" + "\n".join(lines))
    (folder / "t.jsonl").write_text(
        "".join(json.dumps({"file_name": f"photos/{number}.png", "uid": number}) + "\n" for number in range(5))
    )
    images = [{"bytes": png(number), "path": f"{number}.png"} for number in range(4)]
    write_parquet(folder / "s.parquet", {"image": images, "n": list(range(4))}, row_group_size=2)
    write_parquet(folder / "b.parquet", {"jpg": [png(number) for number in range(5)], "uid": list("abcde")})
    write_parquet(folder / "p.parquet", {"path": [f"photos/{number}.png" for number in range(5)]})
    clip("embed", "photos", "-o", "folder/", "--rows-per-shard", 2)
    clip("embed", "t.csv", "-o", "csv/", "--rows-per-shard", 2, "--keep-columns", "note")
    for name, kept in (("t.jsonl", "uid"), ("s.parquet", "n"), ("b.parquet", "uid"), ("p.parquet", "path")):
        done = clip("embed", name, "-o", f"of-{name}/", "--rows-per-shard", 2, "--keep-columns", kept)
        assert done.status == 0, done.stderr
    rows = rows_of(folder / "folder")
    assert [row["key"] for row in rows] == [f"photos/{number}.png" for number in range(5)]
    assert [row["shard"] for row in rows] == ["00000", "00000", "00001", "00001", "00002"]
    table = rows_of(folder / "csv")
    assert [row["key"] for row in table] == [f"x{number}" for number in range(5)]
    assert table[3]["note"] == 'one\nline "3"' and table[4]["shard"] == "00002"
    for name, keys in (("t.jsonl", "01234"), ("b.parquet", "abcde")):
        assert "".join(row["key"] for row in rows_of(folder / f"of-{name}")) == keys
    split = rows_of(folder / "of-s.parquet")
    assert [(row["key"], row["n"], row["shard"]) for row in split[1:3]] == [
        ("1.png", 1, "00000"),
        ("2.png", 2, "00001"),
    ]
    for name in ("csv", "of-t.jsonl", "of-b.parquet", "of-p.parquet"):
        found = [row["embedding"] for row in rows_of(folder / name)]
        assert np.allclose(found, [row["embedding"] for row in rows], atol=1e-5)


def test_each_input_row_is_an_output_row(clip: Clip, folder: Path) -> None:
    bad = [("9.png", b"not an image"), ("9.json", b"{}"), ("8.json", b'{"uid": "u8"}'), ("8.txt", b"no image")]
    (folder / "a.tar").write_bytes(tar_bytes([*samples([1]), *bad, *sample(2)]))
    done = clip("embed", "a.tar", "-o", "out/", "--keep-columns", "uid")
    assert done.status == 3
    rows = rows_of(Path("out"))
    assert [(row["key"], row["status"], row["error_type"]) for row in rows] == [
        ("00001", "ok", None),
        ("9", "error", "UnreadableImage"),
        ("8", "error", "MissingFile"),
        ("00002", "ok", None),
    ]
    assert [row["embedding"] is None for row in rows] == [False, True, True, False]
    assert [row["uid"] for row in rows] == ["u1", None, "u8", "u2"]
    marker = json.loads((folder / "out/.clip/done/00000.json").read_text())
    assert (marker["rows"], marker["ok"], marker["errors"]) == (4, 2, {"MissingFile": 1, "UnreadableImage": 1})


def test_classify_tag_and_score_over_shards(clip: Clip, folder: Path) -> None:
    write_tars(folder, 1, 3)
    for number in range(3):
        (folder / f"{number:05d}.png").write_bytes(png(number))
    for command, *labels in (
        ("classify", "--labels", "cat,dog", "--top", "1"),
        ("tag", "--labels", "cat,dog", "--threshold", "0"),
        ("score", "--text", "a cat", "--text", "a dog"),
    ):
        done = clip(command, "00.tar", *labels, "-o", f"{command}/")
        assert done.status == 0, done.stderr
        expected = clip(command, *sorted(folder.glob("*.png")), *labels).rows
        for row, alone in zip(rows_of(folder / command), expected, strict=True):
            assert f"{row['key']}.png" == Path(alone["path"]).name
            for name in alone.keys() - {"path", "status"}:
                assert_close(row[name], alone[name])


def assert_close(found: Any, expected: Any) -> None:
    """Compare answers whose numbers went through float32."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert_close(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    else:
        assert found == (pytest.approx(expected, abs=1e-5) if isinstance(expected, float) else expected)


def test_pairs_are_scored_by_their_own_captions(clip: Clip, folder: Path, clip_checkpoint: Path) -> None:
    files = [*samples(range(4)), *sample(4, caption=" "), ("00005.png", png(5)), *sample(6, caption="x " * 500)]
    (folder / "a.tar").write_bytes(tar_bytes(files))
    done = clip("score", "--pairs", "a.tar", "-o", "cosine/", "--keep-columns", "uid")
    assert done.status == 3 and "1 caption cut" in done.stderr
    clip("score", "--pairs", "a.tar", "-o", "clip/", "--metric", "clipscore", "--score-column", "s")
    rows = rows_of(folder / "cosine")
    assert [row["error_type"] for row in rows] == [None, None, None, None, "MissingText", "MissingText", None]
    assert [row["uid"] for row in rows[:2]] == ["u0", "u1"]
    model = clipcli.load(str(clip_checkpoint))
    images = model.encode_images([scene(number) for number in range(4)])
    texts = model.encode_texts([f"caption {number % 3}" for number in range(4)])
    assert np.allclose([row["cosine"] for row in rows[:4]], (images * texts).sum(axis=1), atol=1e-5)
    prefixed = model.encode_texts([f"A photo depicts caption {number % 3}" for number in range(4)])
    expected = 2.5 * np.maximum((images * prefixed).sum(axis=1), 0)
    assert np.allclose([row["s"] for row in rows_of(folder / "clip")[:4]], expected, atol=1e-5)


def test_layouts_of_other_programs(clip: Clip, folder: Path) -> None:
    bad = [("9.png", b"not an image"), ("9.txt", b"a caption"), ("9.json", b'{"uid": "u9"}')]
    (folder / "0.tar").write_bytes(tar_bytes([*samples([0]), *bad, *samples([1])]))
    (folder / "1.tar").write_bytes(tar_bytes(samples([2])))
    keep = ("--keep-columns", "uid,width")
    clip("embed", "{0,1}.tar", "-o", "cr/", "--layout", "clip-retrieval", "--text-column", "txt", *keep)
    images, texts = np.load("cr/img_emb/img_emb_0.npy"), np.load("cr/text_emb/text_emb_0.npy")
    metadata = parquet.read_table("cr/metadata/metadata_0.parquet").to_pylist()
    assert images.dtype == texts.dtype == np.float16
    assert len(images) == len(texts) == len(metadata) == 2
    assert metadata[1] == {"image_path": "00001", "caption": "caption 1", "uid": "u1", "width": "11"}
    assert parquet.read_table("cr/errors/errors_0.parquet").to_pylist()[0]["key"] == "9"
    column = "clip_b32_similarity_score"
    clip("score", "--pairs", "{0,1}.tar", "-o", "dc/", "--layout", "datacomp", "--score-column", column,
         "--key-column", "uid")  # fmt: skip
    table = parquet.read_table("dc/0.parquet")
    assert (table.column_names, table["uid"].to_pylist()) == (["uid", "text", column], ["u0", "u1"])
    clip("score", "--pairs", "{0,1}.tar", "-o", "la/", "--layout", "laion")
    rows = rows_of(folder / "la")
    assert [row["status"] for row in rows] == ["success", "failed", "success", "success"]
    assert rows[0].keys() >= {"caption", "similarity", "error_message"}


def test_a_run_is_continued_and_shared_out(clip: Clip, folder: Path) -> None:
    write_tars(folder, 4, 2)
    assert clip("embed", "{00..03}.tar", "-o", "whole/").status == 0
    assert clip("embed", "{00..03}.tar", "-o", "parts/", "--shards", "2/3").status == 0
    assert not Path("parts/_SUCCESS").exists()
    for share in ("1/3", "3/3"):
        assert clip("embed", "{00..03}.tar", "-o", "parts/", "--shards", share).status == 0
    assert files_of("parts") == files_of("whole")
    Path("parts/.clip/done/00002.json").unlink()  # killed between a file and its marker
    before = os.stat("parts/data/00001.parquet").st_mtime_ns
    assert clip("embed", "{00..03}.tar", "-o", "parts/").status == 0
    assert files_of("parts") == files_of("whole")
    assert os.stat("parts/data/00001.parquet").st_mtime_ns == before


def test_a_run_with_other_settings_is_refused(clip: Clip, folder: Path) -> None:
    write_tars(folder, 1, 1)
    clip("embed", "00.tar", "-o", "out/")
    before = files_of("out")
    for changed in (["--keep-columns", "uid"], ["--stored-as", "float16"], ["--exact-decode"], ["-m", "demo"]):
        done = clip("embed", "00.tar", "-o", "out/", *changed)
        assert done.status == 2 and changed[0] in done.stderr.replace("exact_decode", "--exact-decode")
    assert clip("classify", "00.tar", "-l", "a,b", "-o", "out/").status == 2
    assert files_of("out") == before


def test_the_same_words_in_another_folder_are_another_run(
    clip: Clip, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tars(folder, 1, 2)
    clip("embed", "00.tar", "-o", "out/")
    (folder / "other").mkdir()
    write_tars(folder / "other", 1, 1)
    monkeypatch.chdir(folder / "other")
    done = clip("embed", "00.tar", "-o", "../out/")
    assert done.status == 2 and "inputs" in done.stderr
    assert clip("embed", "../00.tar", "-o", "../out/").status == 0


def test_shards_in_a_folder_of_images_are_not_left_out_without_a_word(clip: Clip, folder: Path) -> None:
    write_tars(folder, 2, 1)
    (folder / "a.png").write_bytes(png(0))
    done = clip("embed", ".", "-o", "out/")
    assert done.status == 0 and len(rows_of(Path("out"))) == 1
    assert "2 shards" in done.stderr and "*.tar" in done.stderr
    (folder / "a.png").unlink()
    done = clip("embed", ".", "-o", "none/")
    assert done.status == 1 and "2 shards" in done.stderr


@pytest.mark.parametrize(
    ("command", "layout", "kept"),
    [
        (("embed",), "parquet", "status"),
        (("embed",), "parquet", "embedding"),
        (("embed",), "clip-retrieval", "image_path"),
        (("score", "--pairs"), "parquet", "text"),
        (("score", "--pairs", "--score-column", "s"), "parquet", "s"),
        (("score", "--pairs"), "datacomp", "uid"),
        (("score", "--pairs"), "laion", "similarity"),
        (("tag", "-l", "a,b"), "parquet", "tags"),
    ],
)
def test_a_copied_column_takes_no_name_of_the_output(
    clip: Clip, folder: Path, command: tuple[str, ...], layout: str, kept: str
) -> None:
    write_tars(folder, 1, 1)
    layouts = [] if layout == "parquet" else ["--layout", layout]
    done = clip(*command, "00.tar", "-o", "out/", "--keep-columns", f"width,{kept}", *layouts)
    assert done.status == 2 and "--keep-columns" in done.stderr and repr(kept) in done.stderr, done.stderr
    assert not Path("out").exists()


def test_a_folder_of_something_else_is_left_alone(clip: Clip, folder: Path) -> None:
    write_tars(folder, 1, 1)
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("years of work")
    done = clip("embed", "00.tar", "-o", "mine/")
    assert done.status == 2 and "thesis.txt" in done.stderr
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["00.tar"], 2, "--output"),
        (["00.tar", "-o", "x.npy"], 2, "--output"),
        (["0{0..2}.tar", "-o", "out/"], 1, "02.tar"),
        (["00.tar", "./00.tar", "-o", "out/"], 2, "00.tar"),
        (["x*.tar", "-o", "out/"], 1, "x*.tar"),
        (["00.tar", "-o", "out/", "--shards", "0/4"], 2, "1/8"),
        (["00.tar", "-o", "out/", "--shards", "x"], 2, "1/8"),
        (["00.tar", "-o", "out/", "--tries", "0"], 2, "--tries"),
        (["00.tar", "-o", "out/", "--rows-per-shard", "0"], 2, "--rows-per-shard"),
        (["photo.png", "--shards", "1/2"], 2, "--output"),
        (["00.tar", "-o", "01.tar/"], 1, "Not a directory"),
        (["-", "-o", "out/"], 2, "input"),
        (["00.tar", "-o", "nope://x/"], 2, "nope"),
        (["https://a.b/00.tar", "-o", "out/"], 2, "web address"),
    ],
)
def test_wrong_usage(clip: Clip, folder: Path, arguments: list[str], status: int, says: str) -> None:
    write_tars(folder, 2, 1)
    done = clip("embed", *arguments)
    assert (done.status, says in done.stderr) == (status, True), done.stderr
    assert not Path("out").exists()


def test_names_with_line_ends_of_every_kind(clip: Clip, folder: Path) -> None:
    write_tars(folder, 1, 1)
    for name in ("a\u2028b.tar", "a\x85b.tar", "a\nb.tar"):
        os.link("00.tar", name)
    assert clip("embed", *(path.name for path in folder.glob("a*")), "-o", "out/").status == 0
    assert len(rows_of(Path("out"))) == 3


def test_what_only_files_have(clip: Clip, folder: Path) -> None:
    write_tars(folder, 1, 1)
    for option in (["--format", "csv"], ["--json"], ["--report", "r.html"], ["--sort-into", "s"], ["--fail-fast"]):
        done = clip("classify", "00.tar", "-l", "a,b", "-o", "out/", *option)
        assert done.status == 2 and option[0] in done.stderr
    assert clip("score", "--pairs", "00.tar", "--text", "a", "-o", "out/").status == 2
    assert clip("score", "--metric", "clipscore", "00.tar", "-o", "out/").status == 2
    assert clip("score", "--pairs", "00.tar").status == 2


def test_columns_that_do_not_exist(clip: Clip, folder: Path) -> None:
    write_tars(folder, 1, 2)
    write_parquet(folder / "p.parquet", {"image": [png(0)], "text": ["a"]})
    (folder / "t.csv").write_text("path,text\n00.png,a\n")
    for name in ("00.tar", "p.parquet", "t.csv"):
        for option in ("--image-column", "--text-column"):
            done = clip("score", "--pairs", name, option, "nope", "-o", f"of-{name}{option}/")
            assert done.status == 2 and "'nope'" in done.stderr and "there" in done.stderr, done.stderr
            assert done.stderr.count("nope") == 1, "said once, before any work"
            assert clip("score", "--pairs", name, "-o", f"of-{name}{option}/").status != 2, "no run was begun"


def test_a_damaged_first_shard_hides_no_wrong_column(clip: Clip, folder: Path) -> None:
    """What is wrong with the first shard is its own, and later ones are done."""
    write_tars(folder, 2, 2)
    (folder / "00.tar").write_bytes(b"x" * 5000)
    done = clip("embed", "{00..01}.tar", "-o", "out/")
    assert done.status == 3 and sorted(files_of("out")) == ["data/00001.parquet"]


def test_shards_that_were_added_are_not_left_out_without_a_word(clip: Clip, folder: Path) -> None:
    write_tars(folder, 2, 2)
    (folder / "empty.csv").write_text("path,text\n")
    assert clip("embed", "*.tar", "empty.csv", "-o", "out/").status == 0
    again = clip("embed", "*.tar", "empty.csv", "-o", "out/")
    assert (again.status, "added" in again.stderr) == (0, False), again.stderr
    (folder / "02.tar").write_bytes((folder / "01.tar").read_bytes())
    for _ in range(2):
        done = clip("embed", "*.tar", "empty.csv", "-o", "out/")
        assert done.status == 3 and "02.tar" in done.stderr and "--output" in done.stderr
        assert "01.tar" not in done.stderr
    assert len(rows_of(folder / "out")) == 4
    for tar in folder.glob("*.tar"):
        tar.unlink()
    assert clip("embed", "*.tar", "empty.csv", "-o", "out/").status == 0, "inputs that are gone are not needed"


def test_images_that_were_added_are_not_left_out_without_a_word(clip: Clip, folder: Path) -> None:
    (folder / "photos").mkdir()
    for number in range(5):
        (folder / "photos" / f"{number}.png").write_bytes(png(number))
    arguments = ("embed", "photos", "-o", "out/", "--rows-per-shard", 2)
    assert clip(*arguments).status == clip(*arguments).status == 0
    (folder / "photos" / "0a.png").write_bytes(png(0))
    done = clip(*arguments)
    assert done.status == 3 and "0a.png" in done.stderr, done.stderr
    (folder / "photos" / "0a.png").unlink()
    (folder / "photos" / "3.png").unlink()
    assert clip(*arguments).status == 0, "what is gone was not added"


@pytest.mark.parametrize("layout", ["parquet", "clip-retrieval"])
def test_output_that_was_removed_is_made_again(clip: Clip, folder: Path, layout: str) -> None:
    write_tars(folder, 3, 2)
    arguments = ("embed", "{00..02}.tar", "-o", "out/", "--layout", layout)
    clip(*arguments)
    before = files_of("out")
    for name in sorted(before):
        if name != "_SUCCESS":
            Path("out", name).unlink()
            done = clip(*arguments)
            assert done.status == 0 and "again" in done.stderr, done.stderr
            assert files_of("out") == before


def test_compressed_shards_say_how_to_unpack_them(clip: Clip, folder: Path) -> None:
    write_tars(folder, 1, 2)
    packed = gzip.compress((folder / "00.tar").read_bytes())
    for name in ("a.tar.gz", "a.tgz", "a.csv.gz", "a.parquet.zst"):
        (folder / name).write_bytes(packed)
        for where in (["-o", "out/"], []):
            done = clip("embed", name, *where)
            assert done.status == 2 and "compressed" in done.stderr, done.stderr
    (folder / "named.tar").write_bytes(packed)
    done = clip("embed", "named.tar", "-o", "out/")
    assert done.status == 3 and "gunzip" in done.stderr


def test_a_bad_shard_does_not_cost_the_run(clip: Clip, folder: Path) -> None:
    write_tars(folder, 3, 2)
    whole = (folder / "01.tar").read_bytes()
    (folder / "01.tar").write_bytes(whole[:-10240])
    done = clip("embed", "{00..02}.tar", "-o", "out/")
    assert done.status == 3 and "01.tar" in done.stderr
    assert sorted(files_of("out")) == ["data/00000.parquet", "data/00002.parquet"]
    again = clip("embed", "{00..02}.tar", "-o", "out/")
    assert again.status == 3 and "01.tar" in again.stderr
    changed = clip("embed", "{00..02}.tar", "-o", "out/", "--retry-failed")
    assert changed.status == 3  # still cut
    status = os.stat("01.tar")
    (folder / "02.tar").write_bytes(whole)
    Path("out/.clip/done/00002.json").unlink()
    done = clip("embed", "{00..02}.tar", "-o", "out/")
    assert done.status == 3 and "02.tar has changed" in done.stderr
    assert status.st_size == len(whole) - 10240


def test_a_shard_that_brings_its_workers_down_is_given_up(clip: Clip, folder: Path) -> None:
    write_tars(folder, 2, 1)
    attempts = folder / "out" / ".clip" / "attempts"
    clip("embed", "{00..01}.tar", "-o", "out/", "--shards", "2/2")
    for number in (1, 2, 3):  # what is left of three workers that were killed
        (attempts / f"00000.{number}").write_text("{}")
    done = clip("embed", "{00..01}.tar", "-o", "out/")
    assert done.status == 3 and "given up" in done.stderr
    assert clip("embed", "{00..01}.tar", "-o", "out/", "--retry-failed").status == 0
    assert Path("out/_SUCCESS").exists()


def test_a_killed_run_ends_with_the_same_bytes(clip: Clip, program: Program, folder: Path) -> None:
    write_tars(folder, 4, 8)
    arguments = ("embed", "{00..03}.tar", "-o", "killed/", "--no-progress")
    clip("embed", "{00..03}.tar", "-o", "whole/")
    process = program(*arguments)
    while process.poll() is None and not list(folder.glob("killed/data/00001*")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert clip(*arguments).status == 0
    assert files_of("killed") == files_of("whole")


def test_a_full_disk_ends_the_run(clip: Clip, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tars(folder, 1, 1)
    link = os.link

    def full(source: str, target: str) -> None:
        if "/data/" in target:
            raise OSError(28, "No space left on device")
        link(source, target)

    monkeypatch.setattr(os, "link", full)
    done = clip("embed", "00.tar", "-o", "out/")
    assert done.status == 1 and "No space left" in done.stderr
    monkeypatch.undo()
    os.chdir(folder)
    assert not list(folder.glob("out/data/*")) and not list(folder.glob("out/.clip/attempts/*"))
    assert clip("embed", "00.tar", "-o", "out/").status == 0
    shutil.rmtree("out")
