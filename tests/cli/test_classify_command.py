"""`clip classify`: what the flags do to the answer."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipcli
from tests.cli.conftest import Clip, Outcome
from tests.helpers.schemas import check_document, check_rows

LABELS = ("-l", "cat,dog,bird,car,tree,house")


def numbers(outcome: Outcome) -> list[dict[str, tuple[float, float, float]]]:
    """For each image, score, cosine and logit by label."""
    assert outcome.status == 0
    return [
        {entry["label"]: (entry["score"], entry["cosine"], entry["logit"]) for entry in row["predictions"]}
        for row in outcome.rows
    ]


def close(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    assert [row.keys() for row in one] == [row.keys() for row in other]
    return all(np.allclose(a[name], b[name], atol=1e-5) for a, b in zip(one, other, strict=True) for name in a)


def test_the_numbers_are_what_they_are_called(clip: Clip, images: Path, clip_checkpoint: Path) -> None:
    model = clipcli.load(str(clip_checkpoint))
    names = ["cat", "dog", "bird"]
    texts = model.encode_texts([f"a photo of a {name}." for name in names])
    features = model.encode_images(sorted(images.iterdir()))
    outcome = clip("classify", images, "-l", ",".join(names), "-t", "a photo of a {}.")
    assert outcome.status == 0 and "warning" not in outcome.stderr
    check_rows("clipcli.classify-2", outcome.rows)
    for row, image, found in zip(outcome.rows, features, numbers(outcome), strict=True):
        cosines = texts @ image
        exps = np.exp((cosines - cosines.max()) * model.logits.scale)
        for i, name in enumerate(names):
            score, cosine, logit = found[name]
            assert cosine == pytest.approx(cosines[i], abs=1e-5)
            assert logit == pytest.approx(cosines[i] * model.logits.scale, abs=1e-4)
            assert score == pytest.approx(exps[i] / exps.sum(), abs=1e-5)
        best = names[int(cosines.argmax())]
        assert (row["label"], row["score"]) == (best, found[best][0])
        assert [entry["score"] for entry in row["predictions"]] == sorted((s for s, *_ in found.values()), reverse=True)


def test_the_order_of_labels_changes_nothing(clip: Clip, images: Path) -> None:
    one = numbers(clip("classify", images, "-l", "cat,dog,bird"))
    other = numbers(clip("classify", images, "-l", "bird,cat,dog"))
    assert close([dict(sorted(row.items())) for row in one], [dict(sorted(row.items())) for row in other])
    assert [max(row, key=row.__getitem__) for row in one] == [max(row, key=row.__getitem__) for row in other]


def test_the_batch_size_changes_nothing(clip: Clip, images: Path) -> None:
    single, all_at_once = (clip("classify", images, images, *LABELS, "-b", size, "-k", 6) for size in (1, 8))
    assert close(numbers(single), numbers(all_at_once))
    assert [row["path"] for row in single.rows] == [row["path"] for row in all_at_once.rows]


@pytest.mark.parametrize(("top", "count"), [(1, 1), (2, 2), (100, 6)])
def test_top(top: int, count: int, clip: Clip, images: Path) -> None:
    everything = numbers(clip("classify", images, *LABELS, "-k", 6))
    some = numbers(clip("classify", images, *LABELS, "--top", top))
    assert [list(row) for row in some] == [list(row)[:count] for row in everything]
    assert close(some, [dict(list(row.items())[:count]) for row in everything])


def test_five_labels_by_default(clip: Clip, images: Path) -> None:
    assert [len(row) for row in numbers(clip("classify", images, *LABELS))] == [5, 5, 5]


def test_scoring_changes_scores_only(clip: Clip, images: Path) -> None:
    softmax = numbers(clip("classify", images, *LABELS, "-k", 6))
    sigmoid = numbers(clip("classify", images, *LABELS, "-k", 6, "--scoring", "sigmoid"))
    cosine = numbers(clip("classify", images, *LABELS, "-k", 6, "--scoring", "cosine"))
    for row, independent, plain in zip(softmax, sigmoid, cosine, strict=True):
        assert math.fsum(score for score, *_ in row.values()) == pytest.approx(1, abs=1e-5)
        for name, numbers_of_one in row.items():
            assert independent[name][1:] == plain[name][1:] == numbers_of_one[1:]
            assert independent[name][0] == pytest.approx(1 / (1 + math.exp(-numbers_of_one[2])), rel=1e-4)
            assert plain[name][0] == pytest.approx(numbers_of_one[1], abs=1e-6)


def test_temperature_flattens(clip: Clip, images: Path) -> None:
    plain = numbers(clip("classify", images, *LABELS, "-k", 6))
    flat = numbers(clip("classify", images, *LABELS, "-k", 6, "--temperature", "4"))
    for row, other in zip(plain, flat, strict=True):
        assert list(row) == list(other)
        weights = {name: math.exp(logit / 4) for name, (_, _, logit) in row.items()}
        for name, (score, *rest) in other.items():
            assert score == pytest.approx(weights[name] / sum(weights.values()), abs=1e-5)
            assert rest == list(row[name][1:])


def test_threshold_leaves_lower_scores_out(clip: Clip, images: Path) -> None:
    everything = numbers(clip("classify", images, *LABELS, "-k", 6))
    middle = sorted(score for score, *_ in everything[0].values())[3]
    some = clip("classify", images, *LABELS, "-k", 6, "--threshold", middle)
    assert [set(row) for row in numbers(some)] == [
        {name for name, (score, *_) in row.items() if score >= middle} for row in everything
    ]
    none = clip("classify", images, *LABELS, "--threshold", "1")
    check_rows("clipcli.classify-2", none.rows)
    assert [(row["label"], row["score"], row["predictions"]) for row in none.rows] == [(None, None, [])] * 3
    table = clip("classify", images, *LABELS, "--threshold", "1", "-f", "table")
    assert table.stdout.count("(nothing reached the threshold)") == 3


def test_none_of_these_is_one_more_label(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "-l", "cat,dog", "--none-of-these")
    assert [set(row) for row in numbers(outcome)] == [{"cat", "dog", "none of these"}] * 3
    worded = clip("classify", images, "-l", "cat,dog", "--none-text", "an empty room", "-t", "{}")
    plain = clip("classify", images, "-l", "cat,dog,an empty room", "-t", "{}")
    assert close(numbers(worded), numbers(plain))
    for row, same in zip(worded.rows, plain.rows, strict=True):
        if same["label"] == "an empty room":
            assert (row["label"], row["score"]) == (None, None)
        else:
            assert (row["label"], row["score"]) == (same["label"], same["score"])


def test_when_none_of_these_wins_the_label_is_empty(clip: Clip, images: Path) -> None:
    first = clip("classify", images, *LABELS, "-t", "{}").rows[0]
    winner = first["label"]
    others = ",".join(entry["label"] for entry in first["predictions"][1:])
    outcome = clip("classify", images, "-l", others, "--none-text", winner, "-t", "{}")
    check_rows("clipcli.classify-2", outcome.rows)
    assert (outcome.rows[0]["label"], outcome.rows[0]["score"]) == (None, None)
    assert outcome.rows[0]["predictions"][0]["label"] == winner


def test_templates_are_averaged(clip: Clip, images: Path, clip_checkpoint: Path) -> None:
    model = clipcli.load(str(clip_checkpoint))
    image = model.encode_images([images / "a.png"])[0]
    templates = ["a photo of a {}.", "{} in the grass"]
    flags = [part for template in templates for part in ("-t", template)]
    found = numbers(clip("classify", images / "a.png", "-l", "cat,dog", *flags))[0]
    for name in ("cat", "dog"):
        mean = model.encode_texts([template.replace("{}", name) for template in templates]).mean(axis=0)
        assert found[name][1] == pytest.approx(mean @ image / np.linalg.norm(mean), abs=1e-5)


def test_no_template_takes_labels_as_they_are(clip: Clip, images: Path) -> None:
    bare = numbers(clip("classify", images, "-l", "cat,dog", "--no-template"))
    assert close(bare, numbers(clip("classify", images, "-l", "cat,dog", "-t", "{}")))
    assert not close(bare, numbers(clip("classify", images, "-l", "cat,dog", "-t", "a photo of a {}.")))


def test_a_template_file_by_its_name(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, "-l", "cat,dog", "-t", "photo-7", "--json")
    templates = json.loads(outcome.stdout)["run"]["templates"]
    assert len(templates) == 7
    flags = [part for template in templates for part in ("-t", template)]
    assert clip("classify", images, "-l", "cat,dog", *flags, "--json").stdout == outcome.stdout


def test_labels_from_a_file(clip: Clip, images: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("# pets\ncat\n\ndog\n", encoding="utf-8")
    outcome = clip("classify", images, "-l", f"@{tmp_path / 'labels.txt'}", "-l", "bird")
    assert outcome.stdout == clip("classify", images, "-l", "cat,dog,bird").stdout


def test_a_label_set_brings_wordings_and_templates(clip: Clip, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("templates: ['a {} in the grass']\nlabels: [cat, {name: dog, prompts: [dog, bird]}]")
    document = json.loads(clip("classify", images, "-s", path, "--json").stdout)
    check_document("clipcli.classify-2", document)
    assert document["run"]["label_set"] == "mine"
    assert document["run"]["labels"] == ["cat", "dog"]
    assert document["run"]["templates"] == ["a {} in the grass"]
    assert document["run"]["scoring"] == "softmax"
    other = clip("classify", images, "-l", "cat,dog", "-t", "a {} in the grass")
    found = [row["predictions"] for row in document["results"]]
    for mine, plain in zip(found, numbers(other), strict=True):
        by_label = {entry["label"]: entry for entry in mine}
        assert by_label["cat"]["cosine"] == pytest.approx(plain["cat"][1], abs=1e-5)
        assert by_label["dog"]["cosine"] != pytest.approx(plain["dog"][1], abs=1e-4)


def test_depth_sums_labels_into_their_parents(clip: Clip, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text("labels: [animal/cat, animal/dog, thing/car, thing/house]")
    leaves = numbers(clip("classify", images, "-s", path))
    parents = clip("classify", images, "-s", path, "--depth", "1")
    check_rows("clipcli.classify-2", parents.rows)
    for row, leaf in zip(numbers(parents), leaves, strict=True):
        assert set(row) == {"animal", "thing"}
        assert row["animal"][0] == pytest.approx(leaf["animal/cat"][0] + leaf["animal/dog"][0], abs=1e-5)
        assert row["thing"][1] == max(leaf["thing/car"][1], leaf["thing/house"][1])


def test_one_image_on_standard_input(clip: Clip, images: Path) -> None:
    outcome = clip("classify", "-", *LABELS, stdin=(images / "a.png").read_bytes())
    (row,) = outcome.rows
    assert row["path"] == "-"
    assert row["predictions"] == clip("classify", images / "a.png", *LABELS).rows[0]["predictions"]


def test_nothing_on_standard_input(clip: Clip) -> None:
    outcome = clip("classify", "-", *LABELS)
    assert outcome.status == 3
    assert outcome.rows[0]["error"]["type"] == "UnreadableImage"
    assert "input" in outcome.rows[0]["error"]["message"]


def test_paths_from_a_list(clip: Clip, images: Path, tmp_path: Path) -> None:
    expected = clip("classify", images / "b.jpg", images / "a.png", *LABELS).stdout
    paths = [os.fsencode(images / name) for name in ("b.jpg", "a.png")]
    lines, nulls = b"\n".join(paths) + b"\n", b"\0".join(paths) + b"\0"
    assert clip("classify", "--from-file", "-", *LABELS, stdin=lines).stdout == expected
    assert clip("classify", "--from-file", "-", "-0", *LABELS, stdin=nulls).stdout == expected
    (tmp_path / "list").write_bytes(lines)
    assert clip("classify", "--from-file", tmp_path / "list", *LABELS).stdout == expected


def test_a_null_separated_name_may_hold_a_line_break(clip: Clip, images: Path, tmp_path: Path) -> None:
    name = tmp_path / "two\nlines.png"
    name.write_bytes((images / "a.png").read_bytes())
    outcome = clip("classify", "--from-file", "-", "-0", *LABELS, stdin=os.fsencode(name) + b"\0")
    assert (outcome.status, outcome.rows[0]["path"]) == (0, str(name))


def test_exclude(clip: Clip, images: Path) -> None:
    outcome = clip("classify", images, *LABELS, "--exclude", "*.gif")
    assert [Path(row["path"]).name for row in outcome.rows] == ["a.png", "b.jpg"]


def test_a_label_that_is_too_long_is_cut_with_a_warning(clip: Clip, images: Path) -> None:
    long = "cat " * 200
    outcome = clip("classify", images, "-l", f"{long},dog")
    assert outcome.status == 0
    (warning,) = [line for line in outcome.stderr.splitlines() if "warning" in line]
    assert warning.startswith("clip: warning: label 'cat cat")
    assert warning.endswith("is longer than 77 tokens and was cut")
    assert clip("classify", images, "-l", f"{long},dog", "-q").stderr == ""
