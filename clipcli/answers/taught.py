"""Labels taught by example: a correction of the texts' cosines from a few images, and its effect. numpy only.

Kernel ridge regression on the residuals of the texts' cosines (ProKeR, arXiv:2501.11175). The correction has mean zero
over the taught labels, so that their mean cosine stays that of their texts. Cosines keep their scale next to labels
that have only a text, and thresholds, temperatures and the label for "none of these" stay valid.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from clipcli import scoring
from clipcli.answers.duplicates import clusters, groups_of_similar
from clipcli.answers.metrics.calibration import log_losses
from clipcli.scoring import Floats, Logits

MOST_EXAMPLES = 4000
"""Beyond, each label is represented by medoids: the time grows with the cube of the examples."""
NEAR_DUPLICATE_COSINE = 0.98
_SAME_IMAGE_COSINE = 1 - 1e-6

# Kernel width and strength by examples per label, chosen on ImageNet: arXiv:2501.11175, appendix.
_SHOTS = (1, 2, 4, 8, 16)
_WIDTHS = (3.0, 2.6, 1.5, 1.66, 1.7)
_STRENGTHS = (0.05, 0.05, 0.05, 0.07, 0.1)
# What is tried, the texts alone besides: multiples of that strength, and weights of what the texts say, chosen on the
# demo model. Beyond a strength of 1 a score could exceed the largest cosine.
_CANDIDATES = {1.0: (1.0,), 4.0: (1.0, 0.0), 16.0: (1.0, 0.5, 0.25)}
_WORTH = 0.01
"""Log loss by which a candidate must be better than weaker ones: labels that texts tell apart are left alone."""

Rows = NDArray[np.intp]
Precise = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Taught:
    """Labels, some of which were taught.

    Attributes:
        texts: Text features of all labels, (C, P) unit length.
        examples: Features of the examples, (n, P) unit length.
        owners: The label of each example, (n,).
        columns: The labels that have examples, (T,).
        weights: The weight of each example for each of these, (n, T).
        width: The width of the kernel.
        text_weight: Weight of the texts in the differences between taught labels, from 0 to 1.
        strength: The largest correction by examples, in cosines; 0 if the texts alone do better.
        held_out: Cosines (n, C) of each example when it is left out and the other examples of its label are weighted up
            to replace it: exact leave-one-out in which no label loses weight.
    """

    texts: Floats
    examples: Floats
    owners: Rows
    columns: Rows
    weights: Floats
    width: float
    text_weight: float
    strength: float
    held_out: Floats = field(repr=False)

    def cosines(self, image_features: Floats) -> Floats:
        """Compare images with the labels, on the scale of cosines.

        Shapes: (N, P) unit length -> (N, C) in [-1, 1]. Source: arXiv:2501.11175, equation 11, with shared additions.
        """
        found = scoring.cosines(image_features, self.texts)
        if self.strength:
            added = _kernel(image_features, self.examples, self.width) @ self.weights
            found[:, self.columns] = _flattened(found[:, self.columns], self.text_weight) + added
        return np.clip(found, -1.0, 1.0)

    def judged(self) -> NDArray[np.bool_]:
        """Which examples leave-one-out covers: those of labels with two or more, (n,)."""
        return np.asarray(np.bincount(self.owners)[self.owners] > 1)

    def right_before(self) -> NDArray[np.bool_]:
        """Which examples get their own label from the texts alone, (n,)."""
        return are_right(scoring.cosines(self.examples, self.texts), self.owners)

    def right_after(self) -> NDArray[np.bool_]:
        """Which examples get their own label when they are left out, (n,)."""
        return are_right(self.held_out, self.owners)

    def is_example(self, image_features: Floats) -> NDArray[np.bool_]:
        """Which images are examples themselves. Shapes: (N, P) -> (N,)."""
        return np.asarray((image_features @ self.examples.T).max(axis=1) >= _SAME_IMAGE_COSINE)


def teach(texts: Floats, examples: Floats, owners: Rows, logits: Logits, *, wordless: bool = False) -> Taught:
    """Combine texts and examples with the strength that is best for left-out examples.

    Strength of the examples and weight of the texts are chosen from a few candidates by exact leave-one-out log loss;
    one candidate is the texts alone.

    Shapes: texts (C, P), examples (n, P), unit length; owners (n,).

    Args:
        texts: One row per label.
        examples: Examples of two labels or more.
        owners: The label of each example.
        logits: How the checkpoint turns cosines into logits.
        wordless: Whether a label has only examples and no text: then the texts alone are not a candidate.
    """
    columns, own = np.unique(owners, return_inverse=True)
    shots = len(examples) / len(columns)
    width, strength = (float(np.interp(np.log2(shots), np.log2(_SHOTS), table)) for table in (_WIDTHS, _STRENGTHS))
    text_cosines = scoring.cosines(examples, texts)
    # Rows sum to 0: labels that were not taught do not change.
    target = np.eye(len(columns))[own] - 1 / len(columns)
    level = text_cosines[:, columns].mean(axis=1, keepdims=True, dtype=np.float64)
    said = text_cosines[:, columns] - level
    alike = _kernel(examples, examples, width).astype(np.float64)
    best = Taught(texts, examples, owners, columns, np.zeros(target.shape, np.float32), width, 1.0, 0.0, text_cosines)
    least = np.inf if wordless else _loss(text_cosines, owners, logits)
    fit: tuple[Precise, Precise, Precise] | None = None
    for factor, text_weights in _CANDIDATES.items():
        chosen = min(1.0, factor * strength)
        inverse = np.linalg.inv(alike / chosen + np.eye(len(alike)))
        for weight in text_weights:
            if wordless and weight == 1:
                continue
            left = target - weight * said
            added = inverse @ left
            aim = level + weight * said + chosen * left
            without = _beside(text_cosines, columns, aim - chosen * added / np.diagonal(inverse)[:, None])
            loss = _loss(without, owners, logits)
            if loss < least - _WORTH:
                weights = added.astype(np.float32)
                best = Taught(texts, examples, owners, columns, weights, width, weight, chosen, without)
                least, fit = loss, (aim, inverse, added)
    if fit is None:
        return best
    aim, inverse, added = fit
    return replace(best, held_out=_beside(text_cosines, columns, aim - best.strength * _missed(inverse, added, own)))


def are_right(cosines: Floats, owners: Rows) -> NDArray[np.bool_]:
    """Which images get their own label; a tie counts as wrong. Shapes: (n, C), (n,) -> (n,)."""
    own = cosines[np.arange(len(owners)), owners]
    return np.asarray((cosines >= own[:, None]).sum(axis=1) == 1)


def copies(features: Floats, owners: Rows) -> tuple[Rows, list[tuple[int, int]]]:
    """Examples without near-copies of an earlier example of their label, and pairs of a copy and its original.

    Shapes: (n, P), (n,) -> (m,) row numbers.
    """
    found = [
        (member, group.leader)
        for label in np.unique(owners)
        for group in groups_of_similar(features, np.flatnonzero(owners == label), NEAR_DUPLICATE_COSINE)
        for member in group.members
    ]
    again = {member for member, _ in found}
    return np.array([row for row in range(len(owners)) if row not in again], dtype=np.intp), found


def same_images(features: Floats) -> list[tuple[int, int]]:
    """Pairs of the same image, each with the first of its kind. Shapes: (n, P)."""
    groups = groups_of_similar(features, np.arange(len(features)), _SAME_IMAGE_COSINE)
    return [(group.leader, member) for group in groups for member in group.members]


def fewer(features: Floats, owners: Rows, rows: Rows, most: int = MOST_EXAMPLES) -> Rows:
    """At most so many rows: for labels with many, the medoids of clusters.

    Shapes: (n, P), (n,), (m,) -> (at most `most`, but at least one per label).
    """
    if len(rows) <= most:
        return rows
    counts = np.bincount(owners[rows])
    share = next(share for share in range(most, 0, -1) if share == 1 or np.minimum(counts, share).sum() <= most)
    kept: list[int] = []
    for label in np.unique(owners[rows]):
        own = rows[owners[rows] == label]
        few = len(own) <= share
        kept += own.tolist() if few else [medoid for medoid, _, _ in clusters(features, own, share)]
    return np.array(sorted(kept), dtype=np.intp)


def _missed(inverse: Precise, added: Precise, own: Rows) -> Precise:
    """The residual of kernel ridge regression for the target of each left-out example; (n, T).

    The k - 1 other examples of its label are weighted as k. Otherwise the right label would be weaker than the rest,
    and the accuracy would be far too low for labels with few examples. In `K / strength + 1`, of which `inverse` is the
    inverse, this replaces 1 by (k - 1) / k on the diagonal of the label's rows: one small system per label (Woodbury).
    The residual is the ratio of solution and diagonal, as in any exact leave-one-out.

    Shapes: inverse (n, n); added (n, T), the inverse times the targets; own (n,).
    """
    missed = np.empty_like(added)
    for label in range(added.shape[1]):
        rows = np.flatnonzero(own == label)
        block = inverse[np.ix_(rows, rows)]
        changed = np.linalg.solve(np.eye(len(rows)) - block / len(rows), np.hstack([block, added[rows]]))
        missed[rows] = changed[:, len(rows) :] / np.diagonal(changed)[:, None]
    return missed


def _kernel(images: Floats, examples: Floats, width: float) -> Floats:
    """The kernel: similarity of images and examples, (N, n) in (0, 1]."""
    return np.asarray(np.exp(-np.float32(width) * (1 - images @ examples.T)), dtype=np.float32)


def _flattened(cosines: Floats, weight: float) -> Floats:
    """Shrink the cosines of taught labels towards their mean, which does not change."""
    level = cosines.mean(axis=1, keepdims=True)
    return np.asarray(level + np.float32(weight) * (cosines - level), dtype=np.float32)


def _beside(text_cosines: Floats, columns: Rows, found: Precise) -> Floats:
    """Cosines with all labels, with those of taught labels replaced."""
    cosines = text_cosines.copy()
    cosines[:, columns] = np.clip(found, -1.0, 1.0)
    return cosines


def _loss(cosines: Floats, owners: Rows, logits: Logits) -> float:
    return float(log_losses(logits.of(cosines), owners).mean())
