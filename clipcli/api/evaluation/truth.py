"""Read labeled images from a folder, its metadata file, or a table."""

import os
from collections.abc import Iterator, Mapping, Sequence

from clipcli.errors import UsageError, warn
from clipcli.images.find import FindOptions, find_images, images_of
from clipcli.labels.label_set import LabelSet
from clipcli.labels.truth import Labelling, Truth, choose_split, from_folder, from_table, label_set_of, match
from clipcli.labels.truth.folders import metadata_file, subfolders

_SHOWN_FOLDERS = 5


def read_labelling(location: str, *, split: str | None = None, find: FindOptions | None = None) -> Labelling:
    """Read images and the names of their labels.

    Args:
        location: A folder with one folder per label or with a `metadata` file, or a table (see `from_table`).
        split: Which of `train`, `validation` and `test`, if there are several.
        find: Which images of a folder are used.

    Raises:
        UsageError: It cannot be read, or contains no labeled images.
    """
    labelling = _read_folder(location, split, find) if os.path.isdir(location) else from_table(location, split=split)
    if not labelling.images:
        raise UsageError(
            f"{location}: no labeled image in it",
            hint="put images into one folder per label, like images/cat/1.jpg, or list them in a CSV of path,label",
        )
    return labelling


def read_truth(
    location: str,
    label_set: LabelSet | None = None,
    *,
    split: str | None = None,
    mapping: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_unknown: bool = False,
    find: FindOptions | None = None,
) -> Truth:
    """Read labeled images and match their names with labels; without a label set the names are the labels.

    Args:
        location: As for `read_labelling`.
        label_set: The labels.
        split: As for `read_labelling`.
        mapping: Other names for names, see `match`.
        class_names: The names of numeric labels, from 0.
        ignore_unknown: Leave images with unknown names out.
        find: Which images of a folder are used.

    Raises:
        UsageError: It cannot be read, a name is unknown, or no image is left.
    """
    labelling = read_labelling(location, split=split, find=find)
    label_set = label_set or label_set_of(labelling, class_names)
    return match(labelling, label_set, mapping=mapping, class_names=class_names, ignore_unknown=ignore_unknown)


def _read_folder(folder: str, split: str | None, find: FindOptions | None) -> Labelling:
    metadata = metadata_file(folder)
    chosen = choose_split(subfolders(folder), split, folder) if metadata is None else None
    inside = folder if chosen is None else os.path.join(folder, chosen)
    metadata = metadata or metadata_file(inside)
    if metadata is not None:
        return from_table(metadata, split=split if inside == folder else None)
    labelling = from_folder(inside, _images(inside, find))
    _warn_of_empty_folders(inside, labelling)
    return labelling


def _warn_of_empty_folders(folder: str, labelling: Labelling) -> None:
    """Warn of folders without images: without a label set, their labels would silently be missing."""
    filled = {name.partition("/")[0] for name in labelling.names}
    empty = [name for name in subfolders(folder) if name not in filled]
    if filled and empty:
        more = f" and {len(empty) - _SHOWN_FOLDERS} more" if len(empty) > _SHOWN_FOLDERS else ""
        warn(f"{folder}: no image in {', '.join(empty[:_SHOWN_FOLDERS])}{more}")


def _images(folder: str, find: FindOptions | None) -> Iterator[str]:
    options = find or FindOptions(follow_symlinks=True)
    return (source.path for source in images_of(find_images([folder], options)))
