"""The file that `clip labels new` writes: small, valid as it stands, with the rest of the format in comments."""

import os
import shlex
from pathlib import Path

from clipcli.errors import ClipError, LabelSetError
from clipcli.labels.library import user_folder

_STARTER = """\
# A label set. Check it after editing: clip labels check {use}
# Everything a file may hold is in clip-labels(5).

description: What these labels tell apart, in one line
language: en # of labels and templates; zh for Chinese, and so on
source: own work

# Sentences with one {{}} each, where the label goes. Or the name of a template file: "templates: photo-7".
# Without this key the label set gets a default in its language.
templates:
  - a photo of a {{}}.
  - a close-up of a {{}}.

# What all labels are, for templates that hold {{concept}}; without templates: "a photo of a pet: a {{}}."
# concept: pet

labels:
  - cat
  # What one sees on it makes more sentences, and a data set's name for it is matched by clip eval:
  # - {{name: rabbit, descriptors: [long ears, a short tail], id: n02325366}}
  # Several wordings of one label are averaged:
  - {{name: dog, prompts: [dog, puppy]}}
  # Words that YAML takes for something else need quotes:
  - "no"
  - "7"
  # Levels of a hierarchy, whose scores `clip classify` can sum; a slash that separates nothing is written \\/
  - bird/owl
  - bird/robin
  # A group, of which `clip tag` can give only one label; thresholds are for `clip tag` too:
  # - group: weather
  #   labels: [rain, {{name: snow, threshold: 0.4}}]

# Labels of other sets, by name or path:
# include: [pets]

# What an image shows that shows none of the labels:
# none: something else

# Whole sentences that `tag` weighs each label against:
# background: [a photo., a picture of something else.]
"""


def write_starter(name_or_path: str) -> Path:
    """Write a starter file: under the user's label sets by its name, or at a path.

    Returns:
        Where it was written.

    Raises:
        LabelSetError: If it names no file, or one that is there already.
        ClipError: If it cannot be written.
    """
    path, is_name = new_file(name_or_path)
    use = name_or_path if is_name else str(path)
    write_new(path, _STARTER.format(use=shlex.quote(use) if use.isprintable() else "FILE"), make_folder=is_name)
    return path


def new_file(name_or_path: str) -> tuple[Path, bool]:
    """Where a new label set goes: under the user's own by its name, or at a path; and whether it was a name.

    Raises:
        LabelSetError: If it names no file.
    """
    if os.path.basename(name_or_path) in ("", os.curdir, os.pardir):
        raise LabelSetError(f"{name_or_path!r} names no file", hint="give a name, or a path that ends in .yaml")
    path = Path(os.path.expanduser(name_or_path))
    is_name = path.name == name_or_path and path.suffix not in (".yaml", ".yml")
    if path.suffix not in (".yaml", ".yml"):
        path = path.with_name(f"{path.name}.yaml")
    return (user_folder() / path if is_name else path), is_name


def write_new(path: Path, text: str, *, make_folder: bool) -> None:
    """Write a file that must not be there yet.

    Raises:
        LabelSetError: If it is.
        ClipError: If it cannot be written.
    """
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:  # "x" refuses a file that is there, in one step
            try:
                stream.write(text)
                stream.flush()
            except OSError:
                path.unlink()  # a part of it would read as a label set
                raise
    except FileExistsError as error:
        raise LabelSetError(f"{path}: already exists", hint="choose another name, or remove the file") from error
    except OSError as error:
        raise ClipError(f"{path}: cannot be written: {error.strerror or error}") from error
