"""Features of labels: from the cache if they are there, the others encoded, some labels at a time.

The cache stores the ensemble of a label, the mean of its prompts, not each prompt. A set of 1,000 labels in 60
templates is then 1,000 features of 2 kB instead of 60,000: a second run reads 2 MB instead of 120, fills in no
templates, loads no tokenizer, and does no averaging. If a label is added to a set, or labels are used in another set
with the same templates, the cached ones are found; only a change of templates encodes all labels again. A text by
itself is a label of one prompt, so `score` and `classify` share cached features.

With each feature, the cache stores what would otherwise need tokenizing: which prompt was cut, and a digest of the
tokens, which shows whether two labels are the same to the model.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from clipcli import scoring
from clipcli.errors import LabelSetError, warn
from clipcli.features.cache import CachedFeature, FeatureCache, FeatureSpace
from clipcli.features.digests import texts_digest, tokens_digest
from clipcli.labels.label_set import SLOT, Label
from clipcli.progress import Progress, unobserved
from clipcli.scoring import Floats

if TYPE_CHECKING:
    from clipcli.text.tokenizer import TextTokenizer

_NOTE = struct.Struct("<32si")
_NOTHING_CUT = -1


@dataclass(frozen=True, slots=True)
class LabelFeature:
    """One label, encoded.

    Attributes:
        features: Mean of its prompts, shape (P,), unit length.
        tokens: Digest of the set of its prompts' token ids.
        cut: Which of its prompts was the first not to fit the context, or None.
    """

    features: Floats
    tokens: bytes
    cut: int | None

    @classmethod
    def from_cached(cls, entry: CachedFeature) -> Self:
        """Read what `to_cached` wrote."""
        tokens, cut = _NOTE.unpack(entry.note)
        return cls(entry.features, tokens, None if cut == _NOTHING_CUT else cut)

    def to_cached(self) -> CachedFeature:
        """The label as the cache stores it."""
        return CachedFeature(self.features, _NOTE.pack(self.tokens, _NOTHING_CUT if self.cut is None else self.cut))


class TextEncoder(Protocol):
    """Turns token ids into features."""

    def encode(self, ids: Sequence[Sequence[int]], on_progress: Progress = unobserved) -> Floats:
        """Encode token sequences; reports the number of sequences done and the total.

        Shapes: M sequences of any length -> (M, P) float32, unit length.
        """


class TextEncoders(Protocol):
    """Provides the encoder for labels; it is created only if something is not cached."""

    @property
    def tokenizer(self) -> "TextTokenizer":
        """The tokenizer, read on first use."""

    @property
    def text(self) -> TextEncoder:
        """The text encoder, created on first use."""

    @property
    def text_space(self) -> FeatureSpace:
        """Everything that text features depend on besides the prompts."""

    def expect_prompts(self, new: int) -> None:
        """Set how many prompts will be encoded, before the encoder is used."""


@dataclass(frozen=True, slots=True)
class LabelEncoder:
    """Turns the prompts of labels into features, once each.

    Attributes:
        encoders: Provides tokenizer and encoder, used only if something is not cached.
        cache: The feature cache.
        on_progress: Called with the number of prompts done and the total.
        prompts_at_once: Prompts that are encoded and cached together: the most that an interrupted run loses and that
            memory holds. Fewer prompts would share fewer prefixes.
    """

    encoders: TextEncoders
    cache: FeatureCache
    on_progress: Progress = unobserved
    prompts_at_once: int = 8192

    def features(self, labels: Sequence[Sequence[str]], names: Sequence[str] | None = None) -> list[LabelFeature]:
        """Encode labels, each given by its prompts.

        Args:
            labels: The prompts of each label.
            names: The labels' names, if their tokens must differ.

        Raises:
            LabelSetError: Two labels are the same to the model.
        """
        keys = [texts_digest(prompts) for prompts in labels]
        known = self._remembered(keys)
        missing = {key: prompts for key, prompts in zip(keys, labels, strict=True) if key not in known}
        tokenized = [_tokenize(self.encoders.tokenizer, key, prompts) for key, prompts in missing.items()]
        if names is not None:
            tokens = {label.key: label.tokens for label in tokenized} | {k: f.tokens for k, f in known.items()}
            _refuse_alike(names, [tokens[key] for key in keys])
        done, total = 0, sum(len(label.ids) for label in tokenized)
        self.encoders.expect_prompts(total)
        for share in _shares(tokenized, self.prompts_at_once):
            encoded = self._encode(share, lambda count, _, done=done: self.on_progress(done + count, total))  # type: ignore[misc]
            done += sum(len(label.ids) for label in share)
            if self.cache.usable:
                self.cache.put(self.encoders.text_space, {key: label.to_cached() for key, label in encoded.items()})
            known |= encoded
        return [known[key] for key in keys]

    def _remembered(self, keys: Sequence[bytes]) -> dict[bytes, LabelFeature]:
        if not self.cache.usable:
            return {}
        found = self.cache.get(self.encoders.text_space, keys)
        return {key: LabelFeature.from_cached(entry) for key, entry in found.items()}

    def _encode(self, labels: "Sequence[_Tokenized]", on_progress: Progress) -> dict[bytes, LabelFeature]:
        owners = [owner for owner, label in enumerate(labels) for _ in label.ids]
        features = self.encoders.text.encode([ids for label in labels for ids in label.ids], on_progress)
        means = scoring.ensemble(features, owners, len(labels))
        return {
            label.key: LabelFeature(mean, label.tokens, label.cut) for label, mean in zip(labels, means, strict=True)
        }


def warn_cut(what: Sequence[str], encoded: Sequence[LabelFeature], context_length: int) -> None:
    """Warn once if prompts were longer than the context.

    Args:
        what: Returns the name of a label's first prompt that was cut.
        encoded: The labels.
        context_length: Tokens that fit.
    """
    cut = [name for name, label in zip(what, encoded, strict=True) if label.cut is not None]
    if cut:
        more = f" and {len(cut) - 1} more" if len(cut) > 1 else ""
        warn(f"{cut[0]}{more} is longer than {context_length} tokens and was cut")


def name_prompt(label: Label, prompt: str, templates: Sequence[str]) -> str:
    """Name the label and the template that made a prompt, for a message."""
    made = (template for template in templates if any(template.replace(SLOT, word) == prompt for word in label.prompts))
    template = next(made, SLOT)
    return f"label {label.name!r}" + (f" in template {template!r}" if template != SLOT else "")


@dataclass(frozen=True, slots=True)
class _Tokenized:
    key: bytes
    ids: list[tuple[int, ...]]
    tokens: bytes
    cut: int | None


def _tokenize(tokenizer: "TextTokenizer", key: bytes, prompts: Sequence[str]) -> _Tokenized:
    encodings = tokenizer.encode(prompts)
    cut = next((i for i, encoding in enumerate(encodings) if encoding.truncated), None)
    ids = [encoding.ids for encoding in encodings]
    return _Tokenized(key, ids, tokens_digest(ids), cut)


def _refuse_alike(names: Sequence[str], tokens: Sequence[bytes]) -> None:
    first: dict[bytes, str] = {}
    for name, digest in zip(names, tokens, strict=True):
        other = first.setdefault(digest, name)
        if other != name:
            raise LabelSetError(
                f"labels {other!r} and {name!r} are the same to this model: their prompts become the same tokens",
                hint="they may differ only in letter case, or beyond the maximum length; change one of them",
            )


def _shares(labels: Sequence[_Tokenized], most: int) -> Iterator[list[_Tokenized]]:
    share: list[_Tokenized] = []
    count = 0
    for label in labels:
        if share and count + len(label.ids) > most:
            yield share
            share, count = [], 0
        share.append(label)
        count += len(label.ids)
    if share:
        yield share
