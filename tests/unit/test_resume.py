import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipcli import files
from clipcli.errors import ClipError, UsageError
from clipcli.images.find import ImageSource
from clipcli.library.journal.rows import Journal
from clipcli.library.journal.run_file import RunFile
from clipcli.results import Failure, Tag, TaggedImage

SETTINGS = {"--model": "tiny", "labels": [("cat", 0.5), ("dog", 0.5)], "--top": None}
BATCH = 4


class Killed(Exception):
    pass


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{i:02}.jpg" for i in range(22)]
    for i, path in enumerate(paths):
        path.write_text(f"image {i}" if i % 5 else "damaged")
    return paths


def sources(paths: list[Path]) -> Iterator[ImageSource]:
    return (ImageSource(str(path)) for path in paths)


def tagged(path: str, generation: str = "") -> TaggedImage:
    """Stands in for the engine: what it says depends on the image alone."""
    try:
        text = Path(path).read_text()
    except FileNotFoundError:
        return TaggedImage(path, error=Failure("MissingFile", f"{path}: no such file"))
    if text == "damaged":
        return TaggedImage(path, error=Failure("UnreadableImage", f"{path}: damaged"))
    return TaggedImage(path, (Tag(text + generation, 0.75, 0.25),))


def batches(pending: Iterator[ImageSource], generation: str = "") -> Iterator[list[TaggedImage]]:
    """Batches as the engine makes them: so many images that are not damaged."""
    batch: list[TaggedImage] = []
    for source in pending:
        batch.append(tagged(source.path, generation))
        if sum(record.error is None for record in batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def run(
    output: Path, paths: list[Path], *, resume: bool = True, stop_after: int | None = None, new: str = ""
) -> Journal:
    journal = Journal(RunFile(str(output)), SETTINGS)
    if resume:
        journal.resume()
    for number, batch in enumerate(batches(journal.pending(sources(paths)), new)):
        if number == stop_after:
            raise Killed  # nothing is closed, as in a process that is killed
        journal.write([record.to_dict() for record in batch])
    journal.put_in_order()
    return journal


def rows(output: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.read_bytes().splitlines()]


def undisturbed(tmp_path: Path, paths: list[Path]) -> bytes:
    output = tmp_path / "undisturbed.jsonl"
    run(output, paths, resume=False)
    return output.read_bytes()


def test_a_row_is_plain_and_carries_the_stamp_of_its_file(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    written = rows(output)
    assert [row["path"] for row in written] == [str(path) for path in images]
    status = images[1].stat()
    assert written[1] == {
        "path": str(images[1]),
        "status": "ok",
        "tags": [{"label": "image 1", "score": 0.75, "cosine": 0.25}],
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }
    assert written[0]["status"] == "error"


@pytest.mark.parametrize("kills", [[0], [1], [3], [1, 1, 1], [2, 0, 1]])
def test_killed_between_batches(kills: list[int], tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    for stop_after in kills:
        with pytest.raises(Killed):
            run(output, images, stop_after=stop_after)
    journal = run(output, images)
    assert journal.kept >= BATCH * sum(kills)
    assert output.read_bytes() == undisturbed(tmp_path, images)


def test_torn_at_every_byte(tmp_path: Path, images: list[Path]) -> None:
    whole = tmp_path / "whole.jsonl"
    run(whole, images)
    expected, ends = whole.read_bytes(), whole.with_name("whole.jsonl.run").read_bytes()
    output = tmp_path / "tags.jsonl"
    for cut in range(1, len(expected), 31):
        output.write_bytes(expected[:cut])
        output.with_name("tags.jsonl.run").write_bytes(ends)
        journal = run(output, images, new=" anew")
        got = rows(output)
        assert [row["path"] for row in got] == [str(path) for path in images]
        assert journal.kept == sum("anew" not in json.dumps(row) for row in got[: journal.kept])
        complete = expected[:cut].count(b"\n")
        assert complete - journal.kept < BATCH + 2, "more than one batch was lost"


def test_torn_between_the_rows_and_their_end(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    expected = undisturbed(tmp_path, images)
    run(output, images)
    ends = tmp_path / "tags.jsonl.run"
    whole = ends.read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole)):
        ends.write_bytes(whole[:cut])
        run(output, images)
        assert output.read_bytes() == expected
        assert ends.read_bytes() == whole


def test_nothing_is_done_twice(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    before = output.read_bytes()
    journal = Journal(RunFile(str(output)), SETTINGS)
    journal.resume()
    assert list(journal.pending(sources(images))) == []
    journal.put_in_order()
    assert journal.kept == len(images)
    assert output.read_bytes() == before


def test_a_changed_image_is_done_again_with_its_batch_and_keeps_its_place(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    images[7].write_text("another image")
    run(output, images, new=" anew")
    labels = [row["tags"][0]["label"] for row in rows(output) if "tags" in row]  # type: ignore[index]
    assert "another image anew" in labels
    assert len([label for label in labels if label.endswith("anew")]) == BATCH
    assert [row["path"] for row in rows(output)] == [str(path) for path in images]
    run(output, images)
    images[7].write_text("the third")
    with pytest.raises(Killed):
        run(output, images, stop_after=0)
    paths = [row["path"] for row in rows(output)]
    assert len(paths) == len(set(paths)), "no image has two rows, even while the run is unfinished"
    assert str(images[7]) not in paths


def test_the_same_size_with_another_time_is_a_change(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    os.utime(images[8], ns=(1, 1))
    run(output, images)
    assert rows(output)[8]["mtime_ns"] == 1
    assert output.read_bytes() == undisturbed(tmp_path, images)


def test_a_change_that_restores_the_modification_time_is_a_change(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    status = images[8].stat()
    images[8].write_text("IMAGE 8")
    os.utime(images[8], ns=(status.st_atime_ns, status.st_mtime_ns))
    run(output, images)
    assert rows(output)[8]["tags"][0]["label"] == "IMAGE 8"  # type: ignore[index]


def test_new_images_come_in_their_place_and_vanished_ones_go(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images[3:10] + images[12:])
    images[5].unlink()
    now = [path for path in images if path != images[5]]
    run(output, now)
    assert output.read_bytes() == undisturbed(tmp_path, now)
    run(output, now[:3])
    assert output.read_bytes() == undisturbed(tmp_path, now[:3]), "rows of other inputs go too"


def test_the_order_of_the_inputs_is_the_order_of_the_rows(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    run(output, images[::-1])
    assert [row["path"] for row in rows(output)] == [str(path) for path in images[::-1]]


def test_a_image_that_is_named_twice_has_two_rows(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    twice = [*images, images[1]]
    run(output, twice)
    first = output.read_bytes()
    run(output, twice)
    assert output.read_bytes() == first
    assert len(rows(output)) == len(twice)


def test_failures_that_may_pass_are_tried_again_and_lasting_ones_are_not(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    late = images[0].with_name("late.jpg")
    paths = [late, *images]
    run(output, paths)
    assert rows(output)[0]["status"] == "error"
    journal = Journal(RunFile(str(output)), SETTINGS)
    journal.resume()
    again = [source.path for source in journal.pending(sources(paths))]
    assert str(late) in again and str(images[5]) not in again
    late.write_text("here at last")
    run(output, paths)
    assert rows(output)[0]["status"] == "ok"


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")
    Path(name).write_text("image")
    output = tmp_path / "tags.jsonl"
    run(output, [Path(name)])
    assert run(output, [Path(name)]).kept == 1
    assert rows(output)[0]["path"] == name


def test_other_settings_are_refused_with_what_differs(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    before = output.read_bytes()
    other = {"--model": "large", "labels": [("cat", 0.5), ("dog", 0.6)], "--top": 3}
    with pytest.raises(UsageError) as caught:
        Journal(RunFile(str(output)), other).resume()
    assert all(part in str(caught.value) for part in ("--model", "--top"))
    assert output.read_bytes() == before


def test_a_run_of_the_first_version_is_refused_as_one(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    before = output.read_bytes()
    (tmp_path / "tags.jsonl.run").write_text('{"schema": "clipcli.tag-run/1", "settings": {"--model": "tiny"}}\n12\n')
    with pytest.raises(UsageError, match=r"0\.1"):
        Journal(RunFile(str(output)), SETTINGS).resume()
    assert output.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"{", b'"x"\n', b'{"schema": "something else"}\n', b"\xff\xfe\n"])
def test_a_file_of_unknown_settings_is_refused(content: bytes | None, tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    if content is None:
        (tmp_path / "tags.jsonl.run").unlink()
    else:
        (tmp_path / "tags.jsonl.run").write_bytes(content)
    with pytest.raises(UsageError, match=r"tags\.jsonl\.run"):
        Journal(RunFile(str(output)), SETTINGS).resume()


def test_without_resume_a_run_begins_anew_with_its_first_batch(tmp_path: Path, images: list[Path]) -> None:
    output = tmp_path / "tags.jsonl"
    run(output, images)
    before = output.read_bytes()
    with pytest.raises(Killed):
        run(output, images, resume=False, stop_after=0)
    assert output.read_bytes() == before
    with pytest.raises(Killed):
        run(output, images, resume=False, stop_after=1, new=" anew")
    assert 0 < len(rows(output)) <= BATCH + 2


def test_a_folder_that_does_not_take_the_file(tmp_path: Path, images: list[Path]) -> None:
    with pytest.raises(ClipError, match="nowhere"):
        run(tmp_path / "nowhere" / "tags.jsonl", images)


def test_one_run_at_a_time(tmp_path: Path, images: list[Path]) -> None:
    output = str(tmp_path / "tags.jsonl")
    with RunFile(output) as first:
        with pytest.raises(ClipError, match="written"), RunFile(output):
            pass
        first.write(SETTINGS, [])  # another file takes its place
        first.add(7)
        with pytest.raises(ClipError, match="written"), RunFile(output):
            pass
    with RunFile(output) as second:
        assert list(second.read(json.loads(json.dumps(SETTINGS)))) == [7]


def test_a_claim_without_rows_leaves_nothing(tmp_path: Path) -> None:
    with RunFile(str(tmp_path / "tags.jsonl")):
        assert (tmp_path / "tags.jsonl.run").exists()
    assert list(tmp_path.iterdir()) == []


def test_where_there_are_no_locks_runs_go_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    with RunFile(str(tmp_path / "tags.jsonl")) as first, RunFile(str(tmp_path / "tags.jsonl")) as second:
        first.write(SETTINGS, [])
        second.add(3)
    assert (tmp_path / "tags.jsonl.run").read_bytes().endswith(b"\n3\n")
