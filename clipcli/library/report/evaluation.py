"""One self-contained page about an evaluation: what is confused, which labels are weak, and which images went wrong.

Built as the page of tags is (see `page`). What is in it does not grow with the number of images: counts, one row a
label, and thumbnails of those that were most confidently wrong.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np

from clipcli.answers.evaluate import Evaluation
from clipcli.answers.grouping import grouped_order
from clipcli.errors import ImageError
from clipcli.features.pipeline import default_workers
from clipcli.images.decode import DecodeOptions
from clipcli.library.report.page import embedded, link_to, thumbnail

WRONG_IMAGES = 120
_LABEL_KEYS = ("label", "images", "recall", "recall_low", "recall_high", "taken_for", "times")


def evaluation_report(
    document: Mapping[str, Any], evaluation: Evaluation, paths: Sequence[str], folder: str, options: DecodeOptions
) -> str:
    """Make the page.

    Args:
        document: What `clip eval --json` prints.
        evaluation: The figures that it was made of.
        paths: The images that have a label, in the order of `evaluation.judged`.
        folder: Where the page will lie; its links are relative to it.
        options: How images are read.
    """
    order = grouped_order(evaluation.confusions, evaluation.support)
    place = {label: i for i, label in enumerate(order)}
    rows = document["results"]
    data = {
        "about": {key: document["run"][key] for key in ("version", "model", "label_set", "images", "temperature")},
        "figures": document["figures"],
        "summary": document["summary"],
        "comparison": _comparison(document["comparison"]),
        "labels": [[rows[i][key] for key in _LABEL_KEYS] for i in order],
        "cells": _cells(evaluation, place),
        "reliability": [list(row.values()) for row in document["reliability"]],
        "wrong": _wrong(evaluation, paths, place, os.path.abspath(folder), replace(options, exact=False)),
    }
    template = resources.files("clipcli.library.report").joinpath("evaluation.html").read_text(encoding="utf-8")
    head, _, tail = template.partition("/*DATA*/")
    return head + embedded(data) + tail


def _comparison(other: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if other is None:
        return None
    return {key: other[key] for key in ("name", "figures", "difference", "only_first", "only_second", "p", "images")}


def _cells(evaluation: Evaluation, place: Mapping[int, int]) -> list[list[int]]:
    """Every cell of the matrix that is not empty: row, column, images; in the order of the page."""
    judged = evaluation.judged
    right = np.bincount(judged.truth[judged.right], minlength=len(evaluation.labels))
    diagonal = [[place[i], place[i], int(times)] for i, times in enumerate(right) if times]
    return diagonal + [[place[right], place[given], times] for right, given, times in evaluation.confusions]


def _wrong(
    evaluation: Evaluation, paths: Sequence[str], place: Mapping[int, int], folder: str, options: DecodeOptions
) -> list[dict[str, Any]]:
    """The images that were most confidently wrong, with thumbnails."""
    judged = evaluation.judged
    wrong = np.flatnonzero(~judged.right)
    chosen = wrong[np.argsort(-judged.confidence[wrong], kind="stable")][:WRONG_IMAGES]

    def entry(i: int) -> dict[str, Any]:
        try:
            shown = thumbnail(paths[i], options)
        except ImageError:  # it has vanished since it was judged
            shown = None
        return {
            "path": paths[i],
            "href": link_to(paths[i], folder),
            "thumbnail": shown,
            "row": place[int(judged.truth[i])],
            "column": place[int(judged.predicted[i])],
            "score": round(float(judged.confidence[i]), 4),
            "rank": int(judged.rank[i]),
        }

    with ThreadPoolExecutor(default_workers()) as pool:
        return list(pool.map(entry, chosen.tolist()))
