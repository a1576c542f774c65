import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipcli.errors import ClipError, ExitStatus, MissingFile, PermissionDenied, UnreadableImage, UsageError
from clipcli.images.find import IMAGE_EXTENSIONS, FindOptions, ImageSource, Pause, find_images


@pytest.fixture(autouse=True)
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    for name in ("album/b.png", "album/a.jpg", "album/a/z.JPG", "album/a/deep/y.webp", "album/c.heic"):
        _touch(folder / name)
    for name in ("album/notes.txt", "album/.hidden.jpg", "album/.thumbs/t.jpg"):
        _touch(folder / name)
    monkeypatch.chdir(folder)
    return folder


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def _paths(*inputs: str, **options: object) -> list[str]:
    sources = list(find_images(inputs, FindOptions(**options)))  # type: ignore[arg-type]
    assert all(source.error is None for source in sources), sources
    return [source.path for source in sources]


def test_files_that_pillow_only_recognizes_are_not_walked() -> None:
    """`.hdr`, too: to a photographer it is a Radiance file, which Pillow does not read."""
    for extension in ("hdr", "h5", "eps", "wmf", "mpg"):
        _touch(Path(f"album/x.{extension}"))
        assert f".{extension}" not in IMAGE_EXTENSIONS
    assert len(_paths("album")) == 5


def test_folder_is_walked_by_extension_in_the_order_of_names() -> None:
    assert _paths("album") == [
        "album/a/deep/y.webp",
        "album/a/z.JPG",
        "album/a.jpg",
        "album/b.png",
        "album/c.heic",
    ]


def test_named_files_are_taken_whatever_their_name_and_inputs_keep_their_order() -> None:
    assert _paths("album/notes.txt", "album/a", "album/.hidden.jpg") == [
        "album/notes.txt",
        "album/a/deep/y.webp",
        "album/a/z.JPG",
        "album/.hidden.jpg",
    ]


def test_overlapping_inputs_are_both_kept() -> None:
    assert _paths("album/a", "album/a/z.JPG") == ["album/a/deep/y.webp", "album/a/z.JPG", "album/a/z.JPG"]


def test_hidden_files_and_folders_on_request() -> None:
    found = _paths("album", include_hidden=True)
    assert "album/.hidden.jpg" in found
    assert "album/.thumbs/t.jpg" in found


def test_a_hidden_folder_that_is_named_is_walked() -> None:
    assert _paths("album/.thumbs") == ["album/.thumbs/t.jpg"]


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("*.png", {"album/b.png"}),
        ("deep", {"album/a/deep/y.webp"}),
        ("deep/", {"album/a/deep/y.webp"}),
        ("album/a/*", {"album/a/deep/y.webp", "album/a/z.JPG"}),
        ("a", {"album/a/deep/y.webp", "album/a/z.JPG"}),
        ("./album/b.png", {"album/b.png"}),
        ("*.tiff", set()),
    ],
)
def test_exclude_matches_base_name_and_whole_path_and_prunes_folders(pattern: str, gone: set[str]) -> None:
    assert set(_paths("album")) - set(_paths("album", exclude=(pattern,))) == gone


def test_exclude_also_holds_for_named_files() -> None:
    assert _paths("album/a.jpg", "album/b.png", exclude=("*.png",)) == ["album/a.jpg"]


def test_excluding_hidden_names_does_not_exclude_the_parent_folder(
    monkeypatch: pytest.MonkeyPatch, album: Path
) -> None:
    monkeypatch.chdir(album / "album" / "a" / "deep")
    assert _paths("../../a", ".", exclude=(".*",)) == ["../../a/deep/y.webp", "../../a/z.JPG", "./y.webp"]


def test_glob_matches_are_taken_as_if_the_shell_had_named_them() -> None:
    assert _paths("album/*.[jp]*g") == ["album/a.jpg", "album/b.png"]
    assert _paths("album/n*") == ["album/notes.txt"]
    assert _paths("al*/a") == ["album/a/deep/y.webp", "album/a/z.JPG"]


def test_glob_with_two_stars_crosses_folders_and_repeats_nothing() -> None:
    assert _paths("**/*.[Jjw]*") == ["album/a.jpg", "album/a/z.JPG", "album/a/deep/y.webp"]
    assert _paths("album/**/y.webp") == ["album/a/deep/y.webp"]
    assert _paths("album/**") == _paths("album")


def test_glob_takes_hidden_files_only_when_asked() -> None:
    assert _paths("album/*.jpg") == ["album/a.jpg"]
    assert _paths("album/.h*") == ["album/.hidden.jpg"]
    assert _paths("album/*.jpg", include_hidden=True) == ["album/.hidden.jpg", "album/a.jpg"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(album: Path) -> None:
    _touch(album / "cat[1].jpg")
    _touch(album / "cat1.jpg")
    assert _paths("cat[1].jpg") == ["cat[1].jpg"]


def test_a_glob_without_a_match_is_a_missing_file_that_names_it() -> None:
    (source,) = find_images(["album/*.bmp"])
    assert source.path == "album/*.bmp"
    assert isinstance(source.error, MissingFile)
    assert "album/*.bmp" in str(source.error)


def test_a_missing_file_does_not_stop_the_others(album: Path) -> None:
    (album / "dangling.jpg").symlink_to("nowhere.jpg")
    sources = list(find_images(["nope.jpg", "album/a.jpg/x.png", "dangling.jpg", "a\0b.jpg", "album/a.jpg"]))
    assert [type(source.error) for source in sources] == [MissingFile] * 4 + [type(None)]
    assert str(sources[0].error).startswith("nope.jpg")
    assert "link" in str(sources[2].error)


def test_names_that_are_not_utf8_survive(album: Path) -> None:
    name = b"album/caf\xe9.jpg"
    try:
        (album / os.fsdecode(name)).write_bytes(b"")
    except OSError:  # file systems that only take UTF-8
        assert sys.platform == "darwin"
        return
    found = [os.fsencode(path) for path in _paths("album")]
    assert name in found
    listed = find_images([], from_file="-", stdin=io.BytesIO(name + b"\n"))
    assert [os.fsencode(source.path) for source in listed] == [name]


def test_links_to_files_are_followed_and_links_to_folders_on_request(album: Path) -> None:
    (album / "shelf").mkdir()
    (album / "shelf" / "file.jpg").symlink_to(album / "album" / "b.png")
    (album / "shelf" / "folder").symlink_to(album / "album" / "a")
    assert _paths("shelf") == ["shelf/file.jpg"]
    assert _paths("shelf", follow_symlinks=True) == [
        "shelf/file.jpg",
        "shelf/folder/deep/y.webp",
        "shelf/folder/z.JPG",
    ]
    assert _paths("shelf/folder") == ["shelf/folder/deep/y.webp", "shelf/folder/z.JPG"]


def test_link_loops_end_and_nothing_is_walked_twice(album: Path) -> None:
    (album / "album" / "a" / "up").symlink_to(album / "album")
    (album / "album" / "zz").symlink_to(album / "album" / "a")
    assert _paths("album", follow_symlinks=True) == _paths("album")
    assert _paths("album/**/*.JPG", follow_symlinks=True) == ["album/a/z.JPG"]


def test_a_dangling_link_in_a_walk_is_left_for_decoding_to_report(album: Path) -> None:
    (album / "album" / "gone.jpg").symlink_to("nowhere")
    assert "album/gone.jpg" in _paths("album")


def test_pipes_and_other_devices_in_a_walk_are_passed_over(album: Path) -> None:
    os.mkfifo(album / "album" / "pipe.jpg")
    assert "album/pipe.jpg" not in _paths("album")


def test_a_folder_that_may_not_be_read_is_one_error_and_the_walk_goes_on(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_scandir = os.scandir

    def guarded(path: str) -> Iterator[os.DirEntry[str]]:  # root may read everything, so permissions prove nothing
        if os.path.basename(path) == "a":
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    sources = list(find_images(["album"]))
    assert [source.path for source in sources] == ["album/a", "album/a.jpg", "album/b.png", "album/c.heic"]
    assert isinstance(sources[0].error, PermissionDenied)
    assert [type(source.error) for source in find_images(["album/a/*.jpg"])] == [PermissionDenied]


def test_finding_is_lazy(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = []
    real_scandir = os.scandir

    def recording(path: str) -> Iterator[os.DirEntry[str]]:
        listed.append(path)
        return real_scandir(path)

    for number in range(20):
        _touch(album / "many" / f"{number:02}" / "x.jpg")
    monkeypatch.setattr(os, "scandir", recording)
    assert next(find_images(["many"])).path == "many/00/x.jpg"
    assert listed == ["many", "many/00"]


def test_dash_is_one_image_from_standard_input() -> None:
    sources = list(find_images(["-", "album/a.jpg"], stdin=io.BytesIO(b"bytes")))
    # Whoever writes the image may take an hour: what is known already is finished first.
    assert sources == [Pause(), ImageSource("-", data=b"bytes"), ImageSource("album/a.jpg")]


def test_lists_name_files_and_folders_literally(album: Path) -> None:
    for name in ("-", "x*.jpg", " spaces .png", "line\nbreak.jpg"):
        _touch(album / name)
    lines = b"\xef\xbb\xbfx*.jpg\r\n\n spaces .png\n-\nalbum/a\nalbum/b.png"
    sources = list(find_images(["album/a.jpg"], from_file="-", stdin=io.BytesIO(lines)))
    assert [source.path for source in sources] == [
        "album/a.jpg",
        "x*.jpg",
        " spaces .png",
        "-",
        "album/a/deep/y.webp",
        "album/a/z.JPG",
        "album/b.png",
    ]
    assert all(source.error is None and source.data is None for source in sources)
    null = io.BytesIO(b"line\nbreak.jpg\0album/b.png\0")
    sources = list(find_images([], from_file="-", null_separated=True, stdin=null))
    assert [source.path for source in sources] == ["line\nbreak.jpg", "album/b.png"]
    assert not null.closed


def test_a_long_list_is_read_from_a_file_in_blocks(album: Path) -> None:
    names = [f"album/{number:06}.jpg" for number in range(10_000)]
    (album / "list.txt").write_text("\n".join(names))
    assert [source.path for source in find_images([], from_file="list.txt")] == names


@pytest.mark.parametrize(
    ("inputs", "from_file"),
    [([], None), (["-", "-"], None), (["-"], "-"), ([], "no-such-list.txt"), ([], "album")],
)
def test_wrong_usage_is_known_before_anything_is_read(inputs: list[str], from_file: str | None) -> None:
    with pytest.raises(UsageError):
        find_images(inputs, from_file=from_file, stdin=io.BytesIO(b""))


def test_folders_without_images_are_an_error_only_if_there_is_none_at_all(album: Path) -> None:
    (album / "empty").mkdir()
    assert _paths("empty", "album/a") == ["album/a/deep/y.webp", "album/a/z.JPG"]
    with pytest.raises(ClipError, match="empty, album") as raised:
        list(find_images(["empty", "album"], FindOptions(exclude=("*.*",))))
    assert raised.value.exit_status == ExitStatus.FAILED
    assert not isinstance(raised.value, UsageError)


def test_an_empty_list_is_an_error() -> None:
    with pytest.raises(ClipError, match="image"):
        list(find_images([], from_file="-", stdin=io.BytesIO(b"")))


def test_every_format_that_pillow_decodes_is_found() -> None:
    from PIL import Image

    only_recognised = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
    extensions = {
        extension
        for extension, format_name in Image.registered_extensions().items()
        if format_name in Image.OPEN and format_name not in only_recognised
    }
    assert extensions <= IMAGE_EXTENSIONS
    assert {".heic", ".heif", ".avif", ".jp2"} <= IMAGE_EXTENSIONS
    assert not {".txt", ".eps", ".mpg", ".h5", ".pdf", ".mp4"} & IMAGE_EXTENSIONS


def test_a_name_too_long_for_the_system_is_an_error_row() -> None:
    (source,) = find_images(["x" * 5000])
    assert isinstance(source.error, UnreadableImage)


def test_a_list_without_end_is_not_one() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return b"x" * 65536

    with pytest.raises(UsageError, match="million"):
        list(find_images([], from_file="-", stdin=Endless()))  # type: ignore[arg-type]
