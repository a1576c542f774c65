"""Convert and check the arguments of the Python API: images, lists and names.

The command line has only texts, so it needs none of this but the check for a single one.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from clipcli.errors import UsageError
from clipcli.images import find
from clipcli.images.find import ImageSource

if TYPE_CHECKING:
    from PIL.Image import Image

ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | Image | ImageSource"
"""A path, the bytes of an image file, an image of Pillow's, or what `find_images` finds."""


def find_images(
    *inputs: str | os.PathLike[str],
    exclude: Sequence[str] = (),
    include_hidden: bool = False,
    follow_symlinks: bool = False,
) -> Iterator[ImageSource]:
    """Find images in folders and by globs, lazily, as the commands do; pass the result to a `Model`.

    Args:
        inputs: Files (of any name), folders (with all subfolders), and globs (if no such path exists).
        exclude: Globs of names or whole paths to leave out.
        include_hidden: Include hidden files and folders.
        follow_symlinks: Walk into linked folders.

    Raises:
        UsageError: `inputs` is empty.
        ClipError: At the end, if no image was found.
    """
    options = find.FindOptions(tuple(exclude), include_hidden, follow_symlinks)
    found = find.find_images([os.fspath(path) for path in inputs], options)
    return find.images_of(found)


def refuse_single(value: object, what: str) -> None:
    """Refuse one text or path instead of a list: Python would iterate over its characters.

    Raises:
        UsageError: It is a single text or path.
    """
    if isinstance(value, str | bytes | os.PathLike):
        raise _single(value, what)


def listed(texts: Iterable[str], what: str) -> tuple[str, ...]:
    """Make a list of texts, because a generator can be read only once.

    Raises:
        UsageError: It is a single text.
    """
    refuse_single(texts, what)
    return tuple(texts)


def image_sources(images: Iterable[ImageInput]) -> Iterable[ImageSource]:
    """Turn images into sources, in order; a collection into a list, so that they can be counted.

    Raises:
        UsageError: It is a single image.
        TypeError: One is neither a path nor an image. Raised at once for a list, and when it is reached for an
            iterator.
    """
    from PIL.Image import Image

    if isinstance(images, Image):
        raise _single(images, "images")
    refuse_single(images, "images")
    sources = (_image_source(image, f"image {i}") for i, image in enumerate(images))
    return list(sources) if isinstance(images, Collection) else sources


def _image_source(image: ImageInput, name: str) -> ImageSource:
    from PIL.Image import Image

    if isinstance(image, ImageSource):
        return image
    if isinstance(image, str | os.PathLike):
        return ImageSource(os.fsdecode(image))
    if isinstance(image, bytes):
        return ImageSource(name, data=image)
    if isinstance(image, Image):
        return ImageSource(os.fsdecode(getattr(image, "filename", "") or name), image=image)
    kind = f"{type(image).__module__}.{type(image).__qualname__}".removeprefix("builtins.")
    raise TypeError(
        f"{name} is neither a path nor an image but {kind}; give a path, "
        "a PIL image (of an array: PIL.Image.fromarray(array)) or the bytes of an image file"
    )


def _single(value: object, what: str) -> UsageError:
    # An image's bytes would fill the screen.
    shown = repr(value) if isinstance(value, str | os.PathLike) else f"{type(value).__name__}(...)"
    return UsageError(f"{what} must be a list, not {shown} by itself", hint=f"give a list: [{shown}]")
