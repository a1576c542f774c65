"""Which tokens of a checkpoint are special, and how they are matched in a text.

The rules are those of `transformers` 5: `tokenizer_config.json` names tokens by role; where it has no
`added_tokens_decoder`, the older `special_tokens_map.json`, `added_tokens.json` and the list in `tokenizer.json` have
their say. A token may be recorded twice; both records are handed on, in order, because the later one decides how the
token is matched (`normalized`, `lstrip`, ...).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.errors import DamagedModelError
from clipcli.text.vocabulary import CONFIG_FILE, Vocabulary, read_json_if_there

if TYPE_CHECKING:
    from tokenizers import AddedToken

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# A token as the files record it: its text, or an object with that text as `content`.
Record = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The special tokens by role, and every token that is matched in a text before anything else, in order."""

    roles: Mapping[str, str]
    matched: tuple[Record, ...]

    def added_tokens(self) -> list[AddedToken]:
        """The matched tokens as the `tokenizers` library takes them."""
        from tokenizers import AddedToken

        named = set(self.roles.values())
        tokens = []
        for record in self.matched:
            if isinstance(record, str):
                tokens.append(AddedToken(record, special=True))
            else:
                options = {key: record[key] for key in _OPTIONS if key in record}
                special = record.get("special", False) or record["content"] in named
                tokens.append(AddedToken(record["content"], **options, special=special))
        return tokens


_SURROGATES = re.compile("[\ud800-\udfff]")  # halves of letters, which no text has
_OPTIONS = ("single_word", "lstrip", "rstrip", "normalized")


def read_special_tokens(
    folder: Path, settings: Mapping[str, Any], vocabulary: Vocabulary, defaults: Mapping[str, str]
) -> SpecialTokens:
    """Gather the special tokens of a checkpoint.

    Args:
        folder: The checkpoint.
        settings: Its `tokenizer_config.json`.
        vocabulary: Its vocabulary, whose own list of added tokens may count.
        defaults: Special tokens by role, where the files name none.

    Raises:
        DamagedModelError: A record is neither a text nor an object with `content`.
    """
    path = folder / CONFIG_FILE
    records: dict[str, Any] = {**defaults, **_by_role(settings)}
    extra = _more_tokens(settings, path)
    by_id = settings.get("added_tokens_decoder")
    legacy = {} if by_id is not None else read_json_if_there(folder / "special_tokens_map.json")
    records |= _by_role(legacy)
    extra += _more_tokens(legacy, folder / "special_tokens_map.json")
    roles = {role: _content(record, path) for role, record in records.items() if record is not None}
    if by_id is None:
        by_id = {**_legacy_added_tokens(folder, roles), **vocabulary.added}
    elif not isinstance(by_id, Mapping):
        raise DamagedModelError(f"{path}: added_tokens_decoder is not an object")
    matched = [record for _, record in sorted(by_id.items(), key=lambda item: int(item[0]))]
    known = {_content(record, path) for record in matched}
    for record in [*(records[role] for role in ROLES if role in roles), *extra]:
        if _content(record, path) not in known and record not in matched:
            matched.append(record)
    return SpecialTokens(roles, tuple(matched))


def _more_tokens(settings: Mapping[str, Any], path: Path) -> list[Record]:
    """Those without a role, listed or by a name of their own."""
    more = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    if not isinstance(more, list | Mapping):
        raise DamagedModelError(f"{path}: the special tokens without a role are {more!r}, expected a list")
    return list(more.values() if isinstance(more, Mapping) else more)


def _by_role(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {role: settings[role] for role in ROLES if role in settings}


def _legacy_added_tokens(folder: Path, roles: Mapping[str, str]) -> dict[int, Record]:
    named = set(roles.values())
    return {
        id_: {"content": token, "special": token in named, "normalized": token not in named}
        for token, id_ in read_json_if_there(folder / "added_tokens.json").items()
    }


def _content(record: Any, path: Path) -> str:
    content = record.get("content") if isinstance(record, Mapping) else record
    flags = [record.get(key, False) for key in (*_OPTIONS, "special")] if isinstance(record, Mapping) else []
    is_text = isinstance(content, str) and content != "" and not _SURROGATES.search(content)
    if not is_text or not all(isinstance(flag, bool) for flag in flags):
        raise DamagedModelError(
            f"{path}: {record!r} is not a token (a text, or an object with `content` and true or false)"
        )
    return str(content)
