"""What decoding takes of memory: bytes per pixel of each format at its peak, each in a process of its own.

    python -m tests.bench.image_memory [--megapixels 24]

`clipcli.images.cost` holds what readers take besides 8 bytes per pixel; no figure printed here may be above its own.
"""

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Name, format, mode, save options.
FORMATS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("png", "PNG", "RGB", {"compress_level": 1}),
    ("png-palette", "PNG", "P", {"compress_level": 1}),
    ("png-alpha", "PNG", "RGBA", {"compress_level": 1}),
    ("png-upright", "PNG", "RGBA", {"compress_level": 1, "exif": 6}),
    ("png-16", "PNG", "I;16", {"compress_level": 1}),
    ("jpeg", "JPEG", "RGB", {"subsampling": 0}),
    ("jpeg-cmyk", "JPEG", "CMYK", {}),
    ("jpeg-progressive", "JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    ("jpeg-progressive-cmyk", "JPEG", "CMYK", {"progressive": True, "subsampling": 0}),
    ("jpeg2000", "JPEG2000", "RGB", {}),
    ("jpeg2000-alpha", "JPEG2000", "RGBA", {}),
    ("jpeg2000-gray", "JPEG2000", "L", {}),
    ("webp", "WEBP", "RGB", {"quality": 50, "method": 0}),
    ("webp-lossless", "WEBP", "RGBA", {"lossless": True, "quality": 0, "method": 0}),
    ("avif", "AVIF", "RGB", {"speed": 10, "subsampling": "4:4:4"}),
    ("avif-alpha", "AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
    ("heif", "HEIF", "RGB", {"quality": 50}),
    ("heif-alpha", "HEIF", "RGBA", {"quality": 50}),
    ("tiff", "TIFF", "RGB", {}),
    ("tiff-lzw", "TIFF", "RGBA", {"compression": "tiff_lzw"}),
    ("tiff-one-strip", "TIFF", "RGB", {"compression": "tiff_lzw", "strip_size": 2**30}),
    ("tiff-float", "TIFF", "F", {}),
    ("tiff-float-lzw", "TIFF", "F", {"compression": "tiff_lzw", "strip_size": 2**30}),
    ("tiff-upright", "TIFF", "RGB", {"compression": "tiff_lzw", "orientation": 6}),
    ("gif", "GIF", "P", {}),
    ("bmp", "BMP", "RGB", {}),
    ("tga", "TGA", "RGB", {"compression": "tga_rle"}),
    ("sgi", "SGI", "RGB", {}),
    ("ppm", "PPM", "RGB", {}),
    ("pcx", "PCX", "RGB", {}),
    ("dds", "DDS", "RGBA", {}),
    ("qoi", "QOI", "RGB", {}),
    ("im", "IM", "RGB", {}),
    ("spider", "SPIDER", "F", {}),
    ("blp", "BLP", "P", {}),
    ("pfm", "PPM", "F", {}),
    ("xbm", "XBM", "1", {}),
    ("msp", "MSP", "1", {}),
]


def write(path: Path, format_name: str, mode: str, options: dict[str, Any], megapixels: float) -> None:
    edge = int((megapixels * 1e6) ** 0.5)
    noise = np.random.default_rng(1).integers(0, 256, (64, edge), np.uint8)
    gray = Image.fromarray(np.tile(noise, (-(-edge // 64), 1))[:edge])
    if mode in ("I;16", "F"):
        image = Image.fromarray(np.asarray(gray).astype(np.uint16 if mode == "I;16" else np.float32) * 100)
    elif mode == "CMYK":
        image = Image.merge("CMYK", [gray] * 4)
    else:
        image = gray.convert("RGB") if mode != "L" else gray
        image = image.convert(mode) if mode != "RGB" else image
        if mode == "RGBA":
            image.putalpha(gray)
    options = dict(options)
    if "exif" in options:
        exif = Image.Exif()
        exif[0x0112] = options.pop("exif")
        options["exif"] = exif
    if "orientation" in options:
        options["tiffinfo"] = {274: options.pop("orientation")}
    if format_name == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if format_name == "AVIF":
        Image.init()
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    path.write_bytes(buffer.getvalue())


def peak_bytes(path: Path) -> float:
    """Peak of a process that decodes and scales one image (of Linux only: other systems count the parent's too)."""
    code = (
        "import sys; from clipcli.images.decode import *; from clipcli.images.preprocess import Preprocessing\n"
        "from clipcli.images.find import ImageSource; import pillow_heif\n"
        "o = DecodeOptions(max_megapixels=1e9)\n"
        "for path in sys.argv[1:]: Preprocessing().pixels(decode(ImageSource(path), o))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return float(done.stdout) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, format_name, mode, options in FORMATS:
            if arguments.names and name not in arguments.names:
                continue
            small, large = Path(folder) / f"{name}-small", Path(folder) / f"{name}"
            try:
                write(small, format_name, mode, options, 0.01)
                write(large, format_name, mode, options, arguments.megapixels)
                used = peak_bytes(large) - peak_bytes(small)
            except Exception as error:
                print(f"{name:24} {type(error).__name__}: {error}")
                continue
            size = large.stat().st_size
            pixels = arguments.megapixels * 1e6
            print(f"{name:24} {used / pixels:6.1f} bytes per pixel, file {size / pixels:5.2f}", flush=True)
            large.unlink()


if __name__ == "__main__":
    main()
