"""What a file does to its readers becomes its error: limits, bugs, and what is kept of a failure."""

import gc
import io
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipcli.errors import ImageError, ImageTooLarge, MissingFile, UnreadableImage
from clipcli.images.budget import MemoryBudget
from clipcli.images.color import Alpha, to_rgb
from clipcli.images.cost import memory_limit
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.find import ImageSource
from clipcli.images.header import read_header
from clipcli.images.opening import is_readable_file, open_source
from clipcli.images.prepare import Preparation
from clipcli.images.preprocess import Preprocessing
from tests.helpers.image_files import gradient, save, tiff

FTEX_OF_UNKNOWN_KIND = b"FTEX" + struct.pack("<7i", 1, 32, 24, 1, 1, 9, 32) + struct.pack("<i", 10) + bytes(10)
FTEX_CUT = b"FTEX" + struct.pack("<7i", 1, 32, 24, 1, 1, 1, 32) + struct.pack("<i", 10) + bytes(10)


def decode_bytes(data: bytes, **options: Any) -> Image.Image:
    return decode(ImageSource("x", data=data), DecodeOptions(**options))


@pytest.mark.parametrize("data", [FTEX_OF_UNKNOWN_KIND, FTEX_CUT], ids=["unknown kind", "cut"])
def test_a_reader_that_closes_the_file(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.ftc").write_bytes(data)
    for source in (ImageSource("x", data=data), ImageSource(str(tmp_path / "x.ftc"))):
        with pytest.raises(UnreadableImage, match="FTEX"):
            decode(source, DecodeOptions())


def test_files_are_closed_all_the_same(tmp_path: Path) -> None:
    for name, data in (("a.ftc", FTEX_CUT), ("b.png", save(gradient(), "PNG"))):
        (tmp_path / name).write_bytes(data)
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    held = []
    for name in ("a.ftc", "b.png") * 10:
        try:
            held.append(decode(ImageSource(str(tmp_path / name)), DecodeOptions()))
        except ImageError as error:
            held.append(error)
    assert len(os.listdir("/dev/fd")) == before


class TestBugs:
    """A mistake of this program is its row too, and shows its traceback once."""

    PROGRAM = """
import sys
from clipcli.errors import ImageError
from clipcli.images.prepare import Preparation
from clipcli.images.decode import DecodeOptions
from clipcli.images.find import ImageSource
from clipcli.images.preprocess import Preprocessing

class Broken(Preprocessing):
    def pixels(self, image, *, exact=True):
        return {}["no such key"]

for path in sys.argv[1:]:
    try:
        Preparation(DecodeOptions(), Broken()).pixels(ImageSource(path))
    except ImageError as error:
        print(type(error).__name__, error)
"""

    def test_it_is_in_each_row_and_shown_once(self, tmp_path: Path) -> None:
        paths = [tmp_path / f"{i}.png" for i in range(3)]
        for path in paths:
            path.write_bytes(save(gradient(), "PNG"))
        command = [sys.executable, "-c", self.PROGRAM, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = done.stdout.splitlines()
        assert len(rows) == 3
        for row, path in zip(rows, paths, strict=True):
            assert row.startswith(f"ImageError {path}") and "KeyError: 'no such key'" in row
        assert done.stderr.count("Traceback") == 1
        assert "in pixels" in done.stderr

    def test_decode_does_not_call_it_damage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("clipcli.images.decode.to_rgb", lambda image, alpha: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            decode_bytes(save(gradient(), "PNG"))


class TestMemoryOfFailures:
    def test_an_error_holds_no_pixels(self) -> None:
        data = save(Image.effect_noise((400, 400), 50), "PNG")[:-2000]
        with pytest.raises(UnreadableImage) as raised:
            Preparation(DecodeOptions(), Preprocessing()).pixels(ImageSource("x.png", data=data))
        error = raised.value
        assert "truncated" in str(error)
        assert error.__cause__ is None and error.__context__ is None
        assert not any(isinstance(value, Image.Image | np.ndarray) for value in values_held(error))

    def test_nor_does_one_that_was_met_after_decoding(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(Preprocessing):
            def pixels(self, image: Image.Image, *, exact: bool = True) -> np.ndarray:
                raise MemoryError

        with pytest.raises(ImageTooLarge) as raised:
            Preparation(DecodeOptions(), Broken()).pixels(ImageSource("x.png", data=save(gradient(), "PNG")))
        assert not any(isinstance(value, Image.Image) for value in values_held(raised.value))

    def test_it_stays_flat_over_two_thousand(self) -> None:
        data = save(Image.effect_noise((300, 300), 50), "PNG")[:-2000]
        errors: list[ImageError] = []
        sizes = []
        for i in range(2000):
            try:
                Preparation(DecodeOptions(), Preprocessing()).pixels(ImageSource(f"{i}.png", data=data))
            except ImageError as error:
                errors.append(error)
            if i in (200, 1999):
                sizes.append(resident_bytes())
        assert len(errors) == 2000
        assert sizes[1] - sizes[0] < 40e6  # 160 MB of pixels were kept alive by as many


def values_held(error: BaseException) -> list[object]:
    """What the frames of an error keep alive."""
    held: list[object] = []
    traceback = error.__traceback__
    while traceback is not None:
        held.extend(traceback.tb_frame.f_locals.values())
        traceback = traceback.tb_next
    return held


def resident_bytes() -> int:
    """Memory of this process now."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    return int(shown.stdout) * 1024


class TestWhatANameLeadsTo:
    def test_a_huge_sparse_file(self, tmp_path: Path) -> None:
        path = tmp_path / "sparse.jpg"
        with path.open("wb") as file:
            file.write(save(gradient(), "JPEG")[:200])
            file.truncate(200 * 10**9)
        with pytest.raises(ImageTooLarge, match="200 GB"):
            decode(ImageSource(str(path)), DecodeOptions())
        assert not is_readable_file(str(path))

    def test_a_file_that_opens_and_cannot_be_read(self) -> None:
        path = "/proc/self/mem"
        if not os.path.exists(path):
            path = "/dev/mem"
        with pytest.raises(ImageError, match=path):
            decode(ImageSource(path), DecodeOptions())

    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty", "/dev/full"])
    def test_devices(self, device: str) -> None:
        with pytest.raises(ImageError, match=device):
            decode(ImageSource(device), DecodeOptions())
        assert not is_readable_file(device)

    def test_a_pipe_without_end(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with subprocess.Popen(["sh", "-c", f"exec cat /dev/zero > '{pipe}'"], stderr=subprocess.DEVNULL):
            with pytest.raises(ImageTooLarge, match="pipe"), open_source(ImageSource(str(pipe)), max_bytes=10**6):
                pass

    def test_bytes_of_python_and_of_standard_input(self) -> None:
        with pytest.raises(ImageTooLarge), open_source(ImageSource("-", data=bytes(11)), max_bytes=10):
            pass

    def test_what_is_readable(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(bytes(10))
        assert is_readable_file(str(tmp_path / "a"), 10)
        assert not is_readable_file(str(tmp_path / "a"), 9)
        assert not is_readable_file(str(tmp_path / "b"))
        assert not is_readable_file("nu\0ll")
        assert not is_readable_file(str(tmp_path))


class TestMemoryOfDecoding:
    def test_nothing_is_decoded_before_there_is_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        budget, asked = MemoryBudget(), threading.Event()
        limit = memory_limit(DecodeOptions().max_megapixels)
        data = save(gradient(), "PNG")
        source = ImageSource("x.png", data=data)
        results: list[np.ndarray] = []
        thread = threading.Thread(
            target=lambda: results.append(Preparation(DecodeOptions(), Preprocessing(), budget).pixels(source))
        )
        with budget.lease() as lease:
            lease.take(limit, limit)
            thread.start()
            asked.wait(0.1)
            assert not results
        thread.join(10)
        assert len(results) == 1 and budget.used == 0

    def test_a_reduced_jpeg_asks_for_less(self) -> None:
        asked = []
        data = save(gradient(800, 800), "JPEG")
        for exact in (True, False):
            options = DecodeOptions(exact=exact)
            decode(ImageSource("x", data=data), options, (50, 50), lambda needed, limit: asked.append(needed))
        assert asked[0] == 64 * asked[1]

    def test_a_format_whose_reader_takes_more_than_there_is(self) -> None:
        header = save(Image.new("L", (64, 64)), "JPEG2000")
        data = header.replace(struct.pack(">II", 64, 64), struct.pack(">II", 15000, 15000))
        with pytest.raises(ImageTooLarge, match="JPEG2000 takes"):
            decode_bytes(data)

    def test_pillow_images_of_python_users(self, monkeypatch: pytest.MonkeyPatch) -> None:
        image = Image.open(io.BytesIO(save(gradient(), "TIFF")))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        with pytest.raises(ImageTooLarge):
            decode(ImageSource("x", image=image), DecodeOptions())

    def test_a_tiff_that_holds_a_part_of_its_pixels(self) -> None:
        row, rows = 16, 8192
        data = tiff({256: row, 257: rows, 258: 32, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 339: 3})
        assert len(data) < 200
        with pytest.raises(UnreadableImage, match="part"):
            decode_bytes(data)

    @pytest.mark.parametrize("alpha", ["white", "drop"])
    @pytest.mark.parametrize("mode", ["P", "LA", "RGBA", "CMYK", "I;16", "F", "I", "1", "LAB"])
    def test_strips_are_what_the_whole_is(self, mode: str, alpha: Alpha) -> None:
        image = gradient(97, 61)
        if mode in ("I;16", "F", "I"):
            image = Image.fromarray(np.asarray(image)[..., 0].astype({"I;16": "u2", "F": "f4", "I": "i4"}[mode]) * 99)
        else:
            image = image.convert(mode)
        if mode in ("LA", "RGBA"):
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        if mode == "P":
            image.info["transparency"] = 7
        whole = np.asarray(to_rgb(image, alpha))
        assert np.array_equal(np.asarray(to_rgb(image, alpha, strip_pixels=500)), whole)


def test_heic_cut_anywhere_is_truncated() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    data = save(Image.fromarray(noise), "HEIF", quality=50)
    for part in range(1, 24):
        with pytest.raises(UnreadableImage):
            decode_bytes(data[: len(data) * part // 24])
    padding = struct.pack(">I4s", 100, b"free") + bytes(92)
    assert decode_bytes(data + padding[:50]).size == (300, 200)
    with pytest.raises(UnreadableImage, match="HEIF"):
        decode_bytes(data[:-1])


def test_lossless_jpegs_are_decoded_whole_where_others_are_reduced() -> None:
    data = (Path(__file__).parent.parent / "data" / "images" / "lossless.jpg").read_bytes()
    for exact in (True, False):
        image = decode(ImageSource("x", data=data), DecodeOptions(exact=exact), (8, 8))
        assert image.size == (96, 72)


class TestFewerBitsThanSixteen:
    def test_tiff_says_how_many_are_used(self) -> None:
        values = [0, 15, 16, 0x800, 0xFFF, 0xFFF]
        packed = b"".join(
            bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in zip(values[::2], values[1::2], strict=True)
        )
        tags = {256: 6, 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: len(packed)}
        image = np.asarray(decode_bytes(tiff(tags, packed)))
        assert image[0, :, 0].tolist() == [0, 0, 1, 0x80, 0xFF, 0xFF]

    def test_sixteen_stay_sixteen(self) -> None:
        data = save(Image.fromarray(np.array([[0, 4095]], np.uint16)), "TIFF")
        assert np.asarray(decode_bytes(data))[0, :, 0].tolist() == [0, 15]


def test_missing_files_stay_missing() -> None:
    with pytest.raises(MissingFile):
        Preparation(DecodeOptions(), Preprocessing()).pixels(ImageSource("no such file"))


def test_the_header_of_a_png_is_read_without_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(save(gradient(), "PNG"))
    monkeypatch.setattr(Image.core, "new", lambda *_: 1 // 0)
    header = read_header(str(path))
    assert header is not None and (header.width, header.height, header.format) == (32, 24, "PNG")
