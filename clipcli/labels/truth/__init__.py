"""Labeled images as people have them: folders, tables, and the names in them matched with the labels of a set.

    labelling = from_folder("photos", images) or from_table("photos.csv")     # names as they are written
    truth = match(labelling, label_set)                                        # the same as indices of labels

Knows no images: whoever calls `from_folder` says which there are.
"""

from clipcli.labels.truth.examples import paths_by_name, with_examples
from clipcli.labels.truth.folders import choose_split, from_folder, metadata_file
from clipcli.labels.truth.labelling import Labelled, Labelling
from clipcli.labels.truth.names import Truth, label_set_of, match, read_map
from clipcli.labels.truth.tables import Captioned, captions_from_table, from_table

__all__ = [
    "Captioned",
    "Labelled",
    "Labelling",
    "Truth",
    "captions_from_table",
    "choose_split",
    "from_folder",
    "from_table",
    "label_set_of",
    "match",
    "metadata_file",
    "paths_by_name",
    "read_map",
    "with_examples",
]
