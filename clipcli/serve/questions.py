"""Questions about uploaded images, such as `/api/classify`: the command line's documents over HTTP."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipcli.answers.classify import ClassifyOptions, shortest
from clipcli.answers.maps import QUALITIES, ExplainOptions, Explanation
from clipcli.answers.tag import TagOptions
from clipcli.api.explain import Explainer
from clipcli.api.judges import classifier, tagger, text_scorer
from clipcli.api.questions import (
    Judge,
    describe_classify,
    describe_explain,
    describe_run,
    describe_score,
    describe_tag,
    labels_of,
    no_labels,
)
from clipcli.errors import UsageError
from clipcli.features.pipeline import Result
from clipcli.features.reader import Failed
from clipcli.labels.label_set import LabelSet
from clipcli.labels.parse import split_labels
from clipcli.results import Failure, Record, Row
from clipcli.scoring import MAP_METHODS, Floats
from clipcli.serve.bodies import Body
from clipcli.serve.engine import Engine
from clipcli.serve.errors import BadRequest
from clipcli.serve.fields import LONGEST_TEXT, Field, read_fields

_MOST_PREPARED = 64
_USUAL_MAPS, _MOST_MAPS = 8, 32
_MOST_LABELS, _MOST_TEMPLATES, _MOST_PROMPTS = 1000, 100, 8192

_LABELS = (
    Field("labels", "texts", "The labels; one text may hold several, with commas.", most=_MOST_LABELS),
    Field("label_set", "text", "A label set that the server was started with, in place of labels."),
    Field("template", "texts", "Sentences with {} in place of the label.", most=_MOST_TEMPLATES),
)
_SCORING = (
    Field("scoring", "text", "How logits become scores.", ("auto", "softmax", "sigmoid", "cosine")),
    Field("temperature", "number", "Divides the logits; above 1 flattens the scores."),
)
FIELDS: Mapping[str, Sequence[Field]] = {
    "classify": (
        *_LABELS,
        *_SCORING,
        Field("top", "integer", "The most labels of an image."),
        Field("threshold", "number", "Leave labels out that score less."),
        Field("none_of_these", "boolean", "Add an answer for images that show none of the labels."),
        Field("none_text", "text", "Your own text for none_of_these."),
        Field("depth", "integer", "Sum the scores of labels like animal/dog up to this level."),
        Field("coverage", "number", "Give the set of labels that holds the right one in this share of cases."),
    ),
    "score": (Field("text", "texts", "The texts to compare.", most=_MOST_LABELS), *_SCORING),
    "tag": (
        *_LABELS,
        Field("threshold", "number", "Least score; labels may have their own."),
        Field("top", "integer", "The most labels of an image."),
        Field("exclusive", "texts", "Groups of which an image gets the best label only."),
    ),
    "explain": (
        *_LABELS,
        Field("top", "integer", f"Maps of the labels that fit best; {_USUAL_MAPS} where it is left out."),
        Field("method", "text", "How patches get features of their own.", MAP_METHODS),
        Field("quality", "text", "At how many sizes the model looks.", tuple(QUALITIES)),
    ),
    "embed": (Field("text", "texts", "Texts, in place of images or beside them.", most=_MOST_LABELS),),
}
SCHEMAS = {
    "classify": "clipcli.classify/2",
    "score": "clipcli.score/2",
    "tag": "clipcli.tag/2",
    "explain": "clipcli.explain/2",
    "embed": "clipcli.embed/1",
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question with its labels encoded, and the fields that describe it in a document."""

    judge: Any
    about: Mapping[str, Any]


class Questions:
    """Answers questions about uploaded images.

    Args:
        engine: Encodes images and texts.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.label_sets: dict[str, LabelSet] = {}
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()

    def offer(self, label_set: LabelSet) -> None:
        """Offer a label set to clients; the first one is used for requests without labels.

        Its labels are encoded now, so that no client waits for it.

        Raises:
            ClipError: The model cannot use it.
        """
        if self._engine.model.class_names is not None:
            raise UsageError(f"{self._engine.model.checkpoint.id} has classes of its own and takes no label sets")
        classifier(self._engine.model, label_set)
        self.label_sets[label_set.name] = label_set

    async def answer(self, kind: str, body: Body) -> Row:
        """The document that the command of this name would print.

        Raises:
            ClipError: The request cannot be answered.
        """
        fields = read_fields(FIELDS[kind], body.fields, is_form=body.is_form)
        if kind == "embed":
            return await self._embed(body, fields.get("text", ()))
        if not body.images:
            raise BadRequest("no image is given", "send files as `image`, or data URIs in `images`")
        coming = asyncio.ensure_future(self._engine.features(body.images))
        try:
            prepared = await self.prepared(kind, fields)
        except BaseException:
            coming.cancel()
            raise
        if kind == "explain":
            rows = [await self._explain(prepared.judge, item) for item in await coming]
        else:
            rows = [record.to_dict() for record in judged(prepared.judge, await coming)]
        failed = sum(row["status"] == "error" for row in rows)
        return {
            "schema": SCHEMAS[kind],
            "run": prepared.about,
            "results": rows,
            "summary": {"images": len(rows), "ok": len(rows) - failed, "failed": failed},
        }

    async def prepared(self, kind: str, fields: Mapping[str, Any]) -> Prepared:
        """A question, prepared now or earlier.

        Raises:
            ClipError: Its labels or options are not valid.
        """
        key = repr((kind, sorted(fields.items())))
        if key not in self._prepared:
            self._prepared[key] = await self._engine.on_texts(lambda: self._prepare(kind, fields))
        self._prepared.move_to_end(key)
        while len(self._prepared) > _MOST_PREPARED:
            self._prepared.popitem(last=False)
        return self._prepared[key]

    def _prepare(self, kind: str, fields: Mapping[str, Any]) -> Prepared:
        make: dict[str, Callable[[Mapping[str, Any]], tuple[Any, Mapping[str, Any]]]] = {
            "classify": self._classifier,
            "explain": self._explainer,
            "score": self._scorer,
            "tag": self._tagger,
        }
        judge, about = make[kind](fields)
        return Prepared(judge, describe_run(self._engine.model, **about))

    def _classifier(self, fields: Mapping[str, Any]) -> tuple[Judge[Any], Mapping[str, Any]]:
        model, label_set, templates = self._engine.model, self._labels(fields), fields.get("template")
        names = ("top", "scoring", "threshold", "temperature", "coverage")
        options = ClassifyOptions(**{name: fields[name] for name in names if name in fields})
        depth = fields.get("depth")
        if depth is not None and (depth < 1 or label_set is None or label_set.depth == 1):
            raise UsageError("depth sums labels of several levels, and these have one", parameter="depth", value=depth)
        judge = classifier(
            model,
            label_set,
            options,
            templates=templates,
            none_of_these=fields.get("none_text") or fields.get("none_of_these", False),
            depth=depth,
        )
        return judge, describe_classify(model, label_set, templates, judge, options)

    def _scorer(self, fields: Mapping[str, Any]) -> tuple[Judge[Any], Mapping[str, Any]]:
        texts = checked_texts(fields.get("text", ()))
        names = ("scoring", "temperature")
        options = ClassifyOptions(**{name: fields[name] for name in names if name in fields})
        judge = text_scorer(self._engine.model, texts, options)
        return judge, describe_score(texts, judge)

    def _tagger(self, fields: Mapping[str, Any]) -> tuple[Judge[Any], Mapping[str, Any]]:
        model, label_set, templates = self._engine.model, self._labels(fields), fields.get("template")
        if label_set is None:
            raise no_labels()
        options = TagOptions(fields.get("threshold"), fields.get("top"), tuple(fields.get("exclusive", ())))
        options.check_groups(label_set)
        judge = tagger(model, label_set, options, templates=templates)
        return judge, describe_tag(model, label_set, templates, options)

    def _explainer(self, fields: Mapping[str, Any]) -> tuple[Explainer, Mapping[str, Any]]:
        model, label_set, templates = self._engine.model, self._labels(fields), fields.get("template")
        top = fields.get("top", _USUAL_MAPS)
        if top > _MOST_MAPS:
            raise BadRequest(f"top must be at most {_MOST_MAPS}")
        options = ExplainOptions(**{name: fields[name] for name in ("method", "quality") if name in fields}, top=top)
        explainer = Explainer(model, label_set, options, templates)
        assert label_set is not None  # checked by the explainer
        return explainer, describe_explain(model, label_set, templates, options)

    async def _explain(self, explainer: Explainer, item: Result) -> Row:
        if isinstance(item, Failed):
            return Explanation(item.source.path, error=Failure.from_error(item.error)).to_dict()
        found = await self._engine.on_texts(lambda: explainer.explain(item.source, item.features))
        return found.to_dict()

    def _labels(self, fields: Mapping[str, Any]) -> LabelSet | None:
        """The labels of a request: its own, a set that it names, or the server's first one.

        Raises:
            BadRequest: There are too many labels, or the set is not offered.
            LabelSetError: They are not valid.
        """
        names = [name for text in fields.get("labels", ()) for name in split_labels(text)]
        wanted = fields.get("label_set")
        if names and wanted:
            raise BadRequest("labels and label_set cannot be used together", "send one of them")
        if wanted is not None and wanted not in self.label_sets:
            there = ", ".join(self.label_sets) or "none: start it with `label_set=NAME`"
            raise BadRequest(f"this server has no label set {wanted!r}", f"it has {there}")
        prompts = len(names) * max(1, len(fields.get("template", ())))
        if len(names) > _MOST_LABELS or prompts > _MOST_PROMPTS:
            raise BadRequest(f"there are {prompts} prompts; at most {_MOST_LABELS} labels, {_MOST_PROMPTS} prompts")
        if names:
            return labels_of(checked_texts(names))
        if wanted is None and self._engine.model.class_names is not None:
            return None
        return self.label_sets[wanted] if wanted else next(iter(self.label_sets.values()), None)

    async def _embed(self, body: Body, texts: Sequence[str]) -> Row:
        if not body.images and not texts:
            raise BadRequest("neither an image nor a text is given")
        if self._engine.model.class_names is not None:
            raise UsageError(f"{self._engine.model.checkpoint.id} has a classification head instead of features")
        rows: list[Row] = []
        if texts:
            encoded = await self.encode_texts(texts)
            rows += [
                {"text": text, "status": "ok", "features": numbers(row)}
                for text, row in zip(texts, encoded, strict=True)
            ]
        for item in await self._engine.features(body.images):
            if isinstance(item, Failed):
                error = Failure.from_error(item.error).to_dict()
                rows.append({"path": item.source.path, "status": "error", "error": error})
            else:
                rows.append({"path": item.source.path, "status": "ok", "features": numbers(item.features)})
        return {"schema": SCHEMAS["embed"], "results": rows}

    async def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Encode texts as they are.

        Shapes: M texts -> (M, P) float32, unit length.
        """
        return await self._engine.on_texts(lambda: self._engine.model.encode_texts(checked_texts(texts)))


def judged(judge: Judge[Record], results: Iterable[Result]) -> Iterable[Record]:
    """The records of images."""
    for item in results:
        if isinstance(item, Failed):
            yield judge.failed(item.source.path, Failure.from_error(item.error))
        else:
            yield judge.answer(item.source.path, item.features)


def checked_texts(texts: Sequence[str]) -> Sequence[str]:
    """Texts as they are.

    Raises:
        UsageError: The list or one of its texts is empty.
    """
    if not texts:
        raise UsageError("no text is given", hint="give a list of one text or more")
    if any(not text.strip() for text in texts):
        raise UsageError("a text is empty", hint="leave it out")
    if any(len(text) > LONGEST_TEXT for text in texts):
        raise BadRequest(f"a text has more than {LONGEST_TEXT} characters", status=413)
    return texts


def numbers(features: Floats) -> list[float]:
    """Features with no more digits than float32 has."""
    return [shortest(value) for value in features]
