import builtins
import io
import logging
import os
import random
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from clipcli.errors import (
    ImageError,
    ImageTooLarge,
    MissingExtra,
    MissingFile,
    PermissionDenied,
    UnreadableImage,
)
from clipcli.images.decode import DecodeOptions, decode
from clipcli.images.find import ImageSource
from tests.helpers.image_files import VARIANT_NAMES, VARIANTS, gradient, save, variant


def _decode(data: bytes, min_size: tuple[int, int] | None = None, **options: Any) -> Image.Image:
    return decode(ImageSource("-", data=data), DecodeOptions(**options), min_size)


def _pixels(data: bytes, **options: Any) -> np.ndarray:
    return np.array(_decode(data, **options))


@pytest.mark.parametrize("chosen", VARIANTS, ids=VARIANT_NAMES)
def test_every_format_becomes_rgb(chosen: tuple[str, str, dict[str, Any]]) -> None:
    image = _decode(variant(*chosen))
    assert image.mode == "RGB"
    assert image.size == (32, 24)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "LA", "PA", "YCbCr", "LAB"])
def test_opaque_modes_convert_as_pillow_does(mode: str) -> None:
    image = gradient().convert("LA").convert(mode) if mode == "PA" else gradient().convert(mode)
    want = np.array(image.convert("RGB"))
    data = save(image, "TIFF") if mode not in ("PA", "LA") else save(image, "PNG" if mode == "LA" else "TIFF")
    assert np.array_equal(_pixels(data), want)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_on_white_or_dropped(mode: str) -> None:
    image = gradient().convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = save(image, "PNG")
    colour = np.array(image.convert("RGB")).astype(float)
    alpha = np.array(image.getchannel("A")).astype(float)[..., None] / 255
    assert np.array_equal(_pixels(data, alpha="drop"), colour.astype(np.uint8))
    assert np.abs(_pixels(data) - (colour * alpha + 255 * (1 - alpha))).max() <= 1
    assert (_pixels(data)[alpha[..., 0] == 0] == 255).all()


def test_transparent_palette_color_becomes_white_or_keeps_its_color() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    for transparency in (1, b"\xff\x00"):
        data = save(image, "PNG", transparency=transparency)
        assert _pixels(data).tolist() == [[[255, 0, 0], [255, 255, 255]]]
        assert _pixels(data, alpha="drop").tolist() == [[[255, 0, 0], [0, 0, 255]]]


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (0, 0, 255)), ("L", 7)])
def test_transparent_color_key_becomes_white(mode: str, colour: Any) -> None:
    image = Image.new(mode, (2, 1))
    image.putpixel((1, 0), colour)
    data = save(image, "PNG", transparency=colour)
    assert _pixels(data)[0, 1].tolist() == [255, 255, 255]
    assert _pixels(data)[0, 0].tolist() == [0, 0, 0]
    assert _pixels(data, alpha="drop")[0, 1].tolist() == (list(colour) if mode == "RGB" else [7, 7, 7])


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_not_clipped(format_name: str) -> None:
    values = np.array([[0, 255, 256, 0x8000, 0x80FF, 0xFF00, 0xFFFF]], dtype=np.uint16)
    grey = _pixels(save(Image.fromarray(values), format_name))
    assert grey[0, :, 0].tolist() == [0, 0, 1, 128, 128, 255, 255]
    assert (grey == grey[..., :1]).all()


def test_16_bits_in_big_endian_order() -> None:
    values = np.array([[0x0001, 0x1234, 0xFFFF]], dtype=">u2")
    pgm = b"P5 3 1 65535\n" + values.tobytes()
    assert _pixels(pgm)[0, :, 0].tolist() == [0, 0x12, 0xFF]
    image = Image.frombytes("I;16B", (3, 1), values.tobytes())
    assert _pixels(save(image, "TIFF"))[0, :, 0].tolist() == [0, 0x12, 0xFF]


def test_transparent_16_bit_grey_becomes_white() -> None:
    image = Image.fromarray(np.array([[0x1000, 0x2000]], dtype=np.uint16))
    data = save(image, "PNG", transparency=0x2000)
    assert _pixels(data)[0, :, 0].tolist() == [0x10, 255]
    assert _pixels(data, alpha="drop")[0, :, 0].tolist() == [0x10, 0x20]


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 1.0, 200.0], [0, 1, 200]),
        ([0.0, 256.0, 65535.0], [0, 1, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([0.0, 1e6, 4e6], [0, 64, 255]),
        ([float("nan"), 0.25, float("inf")], [0, 64, 255]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
    ],
)
def test_floating_point_grey_is_scaled_by_the_range_it_uses(values: list[float], want: list[int]) -> None:
    data = save(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
    assert _pixels(data)[0, :, 0].tolist() == want


def test_32_bit_integers_beyond_16_bits_are_stretched() -> None:
    data = save(Image.fromarray(np.array([[-1000, 0, 1000]], dtype=np.int32)), "TIFF")
    assert _pixels(data)[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_show_their_first_frame(format_name: str) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    options = {"lossless": True} if format_name == "WEBP" else {}
    data = save(first, format_name, save_all=True, append_images=[second], **options)
    assert _pixels(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_sets_images_upright(orientation: int, format_name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(gradient(), format_name, exif=exif)
    stored = Image.open(io.BytesIO(data))
    assert np.array_equal(_pixels(data), np.array(ImageOps.exif_transpose(stored).convert("RGB")))
    assert np.array_equal(_pixels(data, exif=False), np.array(stored.convert("RGB")))
    assert _decode(data).size == ((24, 32) if orientation > 4 else (32, 24))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_meaningless_orientations_are_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert _decode(save(gradient(), "JPEG", exif=exif)).size == (32, 24)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_an_image_with_damaged_exif_is_still_read(exif: bytes) -> None:
    assert np.array_equal(_pixels(save(gradient(), "JPEG", exif=exif)), _pixels(save(gradient(), "JPEG")))


def test_the_pixel_limit_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(Image.new("1", (2000, 1500)), "PNG")
    assert _decode(data, max_megapixels=3).size == (2000, 1500)
    monkeypatch.setattr(Image.core, "new", _must_not_be_called)
    with pytest.raises(ImageTooLarge, match=r"2000.*1500.*2\.9"):
        _decode(data, max_megapixels=2.9)


def _must_not_be_called(*_: object) -> None:
    raise AssertionError("pixels were allocated")


def test_pillows_own_limit_neither_warns_nor_stops(monkeypatch: pytest.MonkeyPatch, recwarn: Any) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert _decode(save(gradient(), "PNG")).size == (32, 24)
    assert Image.MAX_IMAGE_PIXELS == 10
    assert not recwarn.list


def test_a_gif_that_claims_gigapixels_in_its_first_frame_names_the_limit() -> None:
    frame = b"\x2c" + b"\0\0\0\0" + b"\xff\xff\xff\xff" + b"\0"
    gif = b"GIF89a\x01\0\x01\0\0\0\0" + frame + b"\x02\x02\x44\x01\0\x3b"
    with pytest.raises(ImageTooLarge, match=r"4295.*256"):
        _decode(gif)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        ("naïve text, ünfortunately\n".encode() * 40, "text"),
        (b"\x00\x01\x02\x03" * 50, "format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS"),
    ],
)
def test_what_is_not_an_image_says_what_it_is(data: bytes, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.jpg").write_bytes(data)
    with pytest.raises(UnreadableImage, match=f"^x.jpg.*{message}"):
        decode(ImageSource("x.jpg"), DecodeOptions())


@pytest.mark.parametrize(
    ("format_name", "message"),
    [
        ("JPEG", r"JPEG.*14 kB\)$"),
        ("PNG", r"PNG.*14 kB\)$"),
        ("BMP", r"BMP.* 14 .*180 kB\)$"),
        ("WEBP", r"WEBP.* 14 .*\d\d kB\)$"),
    ],
)
def test_truncated_files_say_how_much_is_there(format_name: str, message: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    with pytest.raises(UnreadableImage, match=message):
        _decode(save(Image.fromarray(noise), format_name)[:14_000])


@pytest.mark.parametrize("chosen", VARIANTS, ids=VARIANT_NAMES)
def test_a_truncated_file_is_whole_or_an_error_but_never_half_grey(chosen: tuple[str, str, dict[str, Any]]) -> None:
    data = variant(*chosen)
    whole = _pixels(data)
    for length in {*range(0, len(data), max(1, len(data) // 200)), *range(len(data) - 30, len(data))}:
        try:
            part = _pixels(data[:length], max_megapixels=1)
        except ImageError:
            continue
        assert np.array_equal(part, whole), length


@pytest.mark.parametrize("chosen", VARIANTS, ids=VARIANT_NAMES)
def test_mutated_files_raise_nothing_but_image_errors(chosen: tuple[str, str, dict[str, Any]]) -> None:
    data = variant(*chosen)
    chance = random.Random(f"{chosen} 1")
    for _ in range(60):
        mutant = bytearray(data)
        reach = chance.choice([64, len(data)])
        for _ in range(chance.randint(1, 6)):
            mutant[chance.randrange(min(reach, len(data)))] = chance.choice([0, 255, 127, 128, chance.randrange(256)])
        if chance.random() < 0.3:
            at = chance.randrange(len(mutant))
            mutant[at:at] = chance.randbytes(chance.randint(1, 9))
        try:
            image = _decode(bytes(mutant), max_megapixels=1)
        except ImageError:
            continue
        assert image.mode == "RGB"
        image.getpixel((0, 0))


def test_heic_is_decoded_with_the_extra_and_names_it_without(monkeypatch: pytest.MonkeyPatch) -> None:
    data = variant("HEIF", "RGB", {})
    assert np.abs(_pixels(data).astype(int) - np.array(gradient())).mean() < 20
    real_import = builtins.__import__

    def without_heif(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("pillow_heif"):
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_heif)
    # Another package of this process may have taught Pillow the format.
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    with pytest.raises(MissingExtra, match=r"'clipcli\[heif\]'"):
        _decode(data)


def test_errors_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableImage, match="folder"):
        decode(ImageSource(str(tmp_path)), DecodeOptions())
    for name in ("none.jpg", "nu\0ll.jpg"):
        with pytest.raises(MissingFile):
            decode(ImageSource(str(tmp_path / name)), DecodeOptions())

    def refuse(path: str, *_: object, **__: object) -> None:  # root may open everything, so permissions prove nothing
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(PermissionDenied, match=r"a\.jpg"):
        decode(ImageSource("a.jpg"), DecodeOptions())


def test_a_source_with_an_error_raises_it() -> None:
    error = MissingFile("gone")
    with pytest.raises(MissingFile) as raised:
        decode(ImageSource("x", error=error), DecodeOptions())
    assert raised.value is error


def test_an_image_that_comes_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(variant("PNG", "RGB", {}),))
    writer.start()
    assert np.array_equal(np.array(decode(ImageSource(str(pipe)), DecodeOptions())), np.array(gradient()))
    writer.join()


@pytest.mark.parametrize("orientation", [1, 6])
def test_reduced_decoding_stays_twice_above_the_size_that_is_needed(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(gradient(1000, 600), "JPEG", exif=exif, quality=95)
    whole = _decode(data)
    sideways = orientation == 6
    for needed, factor in [((300, 100), 1), ((200, 200), 1), ((150, 150), 2), ((75, 60), 4), ((30, 30), 8)]:
        min_size = needed[::-1] if sideways else needed
        reduced = _decode(data, min_size, exact=False)
        assert reduced.size == (whole.width // factor, whole.height // factor), needed
        assert reduced.height >= 2 * min_size[0]
        assert reduced.width >= 2 * min_size[1]
        small = np.array(reduced.resize((20, 20))).astype(int)
        assert np.abs(small - np.array(whole.resize((20, 20)))).mean() < 2
    assert _decode(data, (30, 30), exact=True).size == whole.size
    assert _decode(data, None, exact=False).size == whole.size


def test_threads_decode_the_same_pixels() -> None:
    files = [variant(*chosen) for chosen in VARIANTS] * 3
    want = [_pixels(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        for image, pixels in zip(pool.map(_decode, files), want, strict=True):
            assert np.array_equal(np.array(image), pixels)


def test_pillow_says_nothing_on_stderr(tmp_path: Path) -> None:
    # An APNG without frames warns, and so does EXIF data that points beyond its end; TIFF readers log.
    png = variant("PNG", "RGB", {})
    chunk = b"acTL" + bytes(8)
    chunk = b"\0\0\0\x08" + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(png[:33] + chunk + png[33:])
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\0\0\0\xff\xff\0\0\0\0\0\0"
    (tmp_path / "b.jpg").write_bytes(save(gradient(), "JPEG", exif=exif))
    program = (
        "import sys\n"
        "from clipcli.images.find import find_images\n"
        "from clipcli.images.decode import DecodeOptions, decode\n"
        "print(len([decode(source, DecodeOptions()) for source in find_images(sys.argv[1:])]))\n"
        "import logging; logging.getLogger('PIL.TiffImagePlugin').error('loud')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert logging.getLogger("PIL").level == logging.NOTSET


def test_libtiff_says_nothing_on_stderr(tmp_path: Path) -> None:
    """Its own messages go past Python, to the descriptor."""
    for compression in ("tiff_lzw", "tiff_deflate", "zstd"):
        data = bytearray(save(gradient(), "TIFF", compression=compression))
        data[8 : len(data) // 2] = bytes(byte ^ 0x5A for byte in data[8 : len(data) // 2])
        (tmp_path / f"{compression}.tif").write_bytes(data)
    program = (
        "import sys\n"
        "from clipcli.errors import UnreadableImage\n"
        "from clipcli.images.find import find_images\n"
        "from clipcli.images.decode import DecodeOptions, decode\n"
        "for source in find_images(sys.argv[1:]):\n"
        "    try:\n"
        "        decode(source, DecodeOptions())\n"
        "    except UnreadableImage:\n"
        "        print('unreadable')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (3 * "unreadable\n", "")
