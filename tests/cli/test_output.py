"""Formats and destinations: the same numbers everywhere, and files that are whole or not there."""

import csv
import io
import json
import os
import stat
from pathlib import Path

import pytest

from clipcli.cli.output.destination import Destination
from clipcli.errors import ClipError
from tests.cli.conftest import Clip, reading
from tests.helpers.schemas import check_document, check_rows

QUESTION = ("-l", 'cat,"dog, wet",鸟', "-q")
BAD = "no\twhere.jpg"
MISSING = ("-m", "no-such-model")
COMMANDS = (
    ("classify", "x.jpg", "-l", "cat,dog", *MISSING),
    ("score", "x.jpg", "--text", "a cat", *MISSING),
    ("tag", "x.jpg", "-l", "cat,dog", *MISSING),
    ("models", "info", "no-such-model"),
    ("models", "verify", "no-such-model"),
    ("models", "list"),
    ("labels", "show", "no-such-set"),
    ("labels", "list"),
    ("cache", "info"),
)


def test_every_format_tells_the_same(clip: Clip, images: Path) -> None:
    outcomes = {name: clip("classify", images, BAD, *QUESTION, "-f", name) for name in ("json", "jsonl", "csv", "tsv")}
    assert {outcome.status for outcome in outcomes.values()} == {3}
    document = json.loads(outcomes["json"].stdout)
    check_document("clipcli.classify-2", document)
    assert document["results"] == outcomes["jsonl"].rows
    assert document["summary"] == {"images": 4, "ok": 3, "failed": 1}
    tables = {
        name: list(csv.DictReader(io.StringIO(outcomes[name].stdout), delimiter=delimiter))
        for name, delimiter in (("csv", ","), ("tsv", "\t"))
    }
    assert tables["csv"] == tables["tsv"]
    assert list(tables["csv"][0]) == ["path", "rank", "label", "score", "cosine", "logit", "status", "error"]
    expected = []
    for row in document["results"]:
        for rank, entry in enumerate(row.get("predictions", ()), start=1):
            numbers = {key: str(entry[key]) for key in ("label", "score", "cosine", "logit")}
            expected.append({"path": row["path"], "rank": str(rank), **numbers, "status": "ok", "error": ""})
    assert [row for row in tables["csv"] if row["status"] == "ok"] == expected
    (failed,) = [row for row in tables["csv"] if row["status"] == "error"]
    assert failed["path"] == BAD
    assert failed["error"] == f"MissingFile: {document['results'][3]['error']['message']}"
    assert all(failed[key] == "" for key in ("rank", "label", "score", "cosine", "logit"))


def test_letters_stay_letters(clip: Clip, images: Path) -> None:
    for name in ("json", "jsonl", "csv", "tsv", "table"):
        assert "鸟" in clip("classify", images, *QUESTION, "-f", name).stdout


def test_json_is_short_for_format_json(clip: Clip, images: Path) -> None:
    short, long = clip("classify", images, *QUESTION, "--json"), clip("classify", images, *QUESTION, "-f", "json")
    assert short.stdout == long.stdout
    assert clip("classify", images, *QUESTION, "--json", "-f", "json").status == 0


def test_auto_is_json_lines_without_a_terminal(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, *QUESTION)
    assert outcome.stdout == clip("classify", images, *QUESTION, "-f", "jsonl").stdout
    assert outcome.stdout == clip("classify", images, *QUESTION, "-o", "-").stdout


def test_the_document_says_what_was_run(clip: Clip, images: Path, clip_checkpoint: Path) -> None:
    run = json.loads(clip("classify", images, *QUESTION, "--json").stdout)["run"]
    assert run["model"] == str(clip_checkpoint)
    assert (run["revision"], run["family"], run["device"], run["dtype"]) == (None, "clip", "cpu", "float32")
    assert run["labels"] == ["cat", "dog, wet", "鸟"]
    assert run["preprocessing"]["size"] == 32


def test_numbers_keep_their_full_precision(clip: Clip, images: Path) -> None:
    import numpy as np

    for row in clip("classify", images, *QUESTION).rows:
        for entry in row["predictions"]:
            for key in ("score", "cosine", "logit"):
                assert str(np.float32(entry[key])) == str(entry[key])


def test_output_to_a_file(clip: Clip, images: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    outcome = clip("classify", images, BAD, *QUESTION, "-o", target)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (3, "", "")
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    check_rows("clipcli.classify-2", rows)
    stamps = ("size", "mtime_ns", "ctime_ns")
    printed = clip("classify", images, BAD, *QUESTION).rows
    assert [{key: row[key] for key in row if key not in stamps} for row in rows] == printed
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


def test_output_follows_a_link(clip: Clip, images: Path, tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    assert clip("classify", images, *QUESTION, "-o", tmp_path / "link.jsonl").status == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "real.jsonl").read_text().splitlines()) == 3


def test_output_to_a_named_pipe_leaves_it_a_pipe(clip: Clip, images: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    with reading(pipe) as received:
        assert clip("classify", images, *QUESTION, "-o", pipe).status == 0
    assert received[0].decode() == clip("classify", images, *QUESTION).stdout
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("nowhere/out.jsonl", "No such file or directory", "mkdir -p {folder}/nowhere"),
        ("", "Is a directory", "folder"),
        ("file/out.jsonl", "Not a directory", "folder"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_output_that_cannot_be_written_is_noticed_before_anything_is_loaded(
    name: str, words: str, hint: str, command: tuple[str, ...], clip: Clip, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    outcome = clip(*command, "-o", tmp_path / name)
    assert (outcome.status, outcome.stdout) == (1, "")
    error, next_step = outcome.stderr.splitlines()
    assert error == f"clip: error: --output {tmp_path / name}: {words}"
    assert next_step.startswith("  hint: ") and hint.format(folder=tmp_path) in next_step
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "option", [("--report",), ("--sort-into",), ("--calibrate", "labelled", "--calibrate-into")], ids=lambda o: o[-1]
)
def test_so_is_every_other_place_that_tag_writes_to(option: tuple[str, ...], clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = clip("tag", "x.jpg", "-l", "cat,dog", *MISSING, *option, tmp_path / "file" / "there")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(
        f"clip: error: {option[-1]} {tmp_path}/file/there: Not a directory\n  hint: name a"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", ["cat.png", "CAT.JPG", "link.jsonl"])
def test_output_never_takes_the_place_of_a_image(
    name: str, command: tuple[str, ...], clip: Clip, tmp_path: Path
) -> None:
    (tmp_path / "cat.png").write_bytes(b"a photo")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "cat.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    outcome = clip(*command, "-o", tmp_path / name)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith("clip: error: --output ")
    assert "image's" in outcome.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("option", [("--report",), ("--calibrate", "labelled", "--calibrate-into")])
def test_nor_does_a_report_or_a_label_set(option: tuple[str, ...], clip: Clip, tmp_path: Path) -> None:
    outcome = clip("tag", "x.jpg", "-l", "cat,dog", *MISSING, *option, tmp_path / "b.jpg")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith(f"clip: error: {option[-1]} {tmp_path}/b.jpg: this is an image's name")


@pytest.mark.parametrize("command", ["classify", "tag"])
@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_file_that_is_replaced_keeps_its_permissions(
    command: str, format: str, clip: Clip, images: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.touch(mode=0o600)
    assert clip(command, images, *QUESTION, "-f", format, "-o", target).status == 0
    assert target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_read_only_file_is_not_replaced(command: tuple[str, ...], clip: Clip, tmp_path: Path) -> None:
    target = tmp_path / "my results.jsonl"
    target.write_text("old")
    target.chmod(0o444)
    outcome = clip(*command, "-o", target)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr == (
        f"clip: error: --output {target}: it is read-only\n"
        f"  hint: name another file, or allow writing (chmod u+w '{target}')\n"
    )
    assert target.read_text() == "old"


def test_a_run_that_fails_leaves_the_old_file(clip: Clip, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    (tmp_path / "photos").mkdir()
    assert clip("classify", tmp_path / "photos", *QUESTION, "-o", target).status == 1
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "photos"]


def test_a_stream_that_takes_no_more_is_an_error_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    # A descriptor that is open for reading only refuses what is written, as a full disk does.
    stream = os.fdopen(os.open(path, os.O_RDONLY), "wb")
    destination = Destination(stream, "standard output")
    destination.write("lines")
    with pytest.raises(ClipError, match="written"):
        destination.flush()
    destination.flush()
    stream.close()
