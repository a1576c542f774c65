r"""Write what the man pages say of commands, options and JSON fields: `make man`.

Only what lies between `.\" begin generated` and `.\" end generated` is rewritten, from the program itself and its
schemas; all else in a page is prose. `options.mdoc` says more on options and commands than their help has room for.
A command without a page gets one to fill in. Never installed.
"""

import json
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import typer

from clipcli import hub
from clipcli.checkpoints.families import FAMILIES
from clipcli.cli.app import app
from clipcli.cli.shell.help import first_sentence, option_groups, split_help

MAN = Path(__file__).parent
SCHEMAS = MAN.parent / "clipcli" / "schemas"
IMAGES = ("classify", "score", "tag")

_BLOCK = re.compile(r'(\.\\" begin generated (\w+)\n).*?(\.\\" end generated\n)', re.DOTALL)
_REMARK = re.compile(r'^\.\\" on (.+)\n', re.MULTILINE)
_CODE = re.compile(r"(?:^|(?<=[\s(]))(\(?)(?:`([^`]+)`|--([a-z][a-z-]*))([.,;:)]*)(?=\s|$)")
_FEW_OPTIONS = 6

_SKELETON = """.Dd November 21, 2026
.Dt {title} 1
.Os
.Sh NAME
.Nm {name}
.Nd {sentence}
.Sh SYNOPSIS
.\\" begin generated synopsis
.\\" end generated
.Sh DESCRIPTION
{prose}
.Sh {heading}
.\\" begin generated {block}
.\\" end generated
.Sh EXIT STATUS
See
.Xr clip-output 5 .
.Sh EXAMPLES
.Bd -literal -offset indent
{examples}
.Ed
.Sh SEE ALSO
.Xr clip 1
"""


@cache
def commands() -> dict[tuple[str, ...], Any]:
    """Return every command of the program by its words, the program itself first."""
    return dict(_walk(typer.main.get_command(app), ()))


def _walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, (*words, name))


def pages() -> dict[str, str]:
    """Return every page as it should be, by the name of its file.

    Raises:
        ValueError: `options.mdoc` speaks of what does not exist.
    """
    made = {path.name: path.read_text(encoding="utf-8") for path in MAN.glob("*.[157]")}
    for words, command in commands().items():
        if len(words) <= 1:
            made.setdefault("-".join(("clip", *words)) + ".1", _skeleton(words, command))
    unknown = set(_remarks()) - _subjects()
    if unknown:
        raise ValueError(f"man/options.mdoc speaks of {', '.join(sorted(unknown))}, which does not exist")
    return {name: _BLOCK.sub(partial(_fill, tuple(name[:-2].split("-")[1:])), text) for name, text in made.items()}


def _fill(words: tuple[str, ...], block: re.Match[str]) -> str:
    makers: dict[str, Callable[[tuple[str, ...]], str]] = {
        "synopsis": _synopsis,
        "options": _options,
        "commands": _commands,
        "fields": _fields,
        "models": _models,
    }
    return block[1] + makers[block[2]](words) + block[3]


def _skeleton(words: tuple[str, ...], command: Any) -> str:
    name = "-".join(("clip", *words))
    prose, examples = split_help(command.help)
    grouped = hasattr(command, "commands")
    return _SKELETON.format(
        title=name.upper(),
        name=name,
        sentence=first_sentence(command.help).rstrip(".").lower(),
        prose=mdoc(prose).rstrip(),
        heading="COMMANDS" if grouped else "OPTIONS",
        block="commands" if grouped else "options",
        examples="\n".join(line.replace("\\", "\\e") for line in examples),
    )


@cache
def _remarks() -> dict[str, str]:
    _, *parts = _REMARK.split((MAN / "options.mdoc").read_text(encoding="utf-8"))
    return {subject: text.strip("\n") + "\n" for subject, text in zip(parts[::2], parts[1::2], strict=True)}


def _subjects() -> set[str]:
    """What can be remarked on: `--option`, `clip command`, `clip command --option`."""
    found = set()
    for words, command in commands().items():
        name = " ".join(("clip", *words))
        own = {_name(parameter) for parameter in command.params}
        found |= {name, *own, *(f"{name} {option}" for option in own)}
    return found


def _synopsis(words: tuple[str, ...]) -> str:
    found = [(path, command) for path, command in commands().items() if path[: len(words)] == words]
    if not words:
        return ".Nm clip\n.Op Fl h | -version\n.Nm clip\n.Ar command\n.Op Ar option ...\n.Op Ar argument ...\n"
    return "".join(_usage(path, command) for path, command in found if not hasattr(command, "commands"))


def _usage(words: tuple[str, ...], command: Any) -> str:
    options = list(filter(_is_option, command.params))
    lines = [f".Nm clip {' '.join(words)}"]
    if len(options) > _FEW_OPTIONS:
        lines.append(".Op Ar option ...")
    else:
        lines += [f".Op {_spelling(parameter, short=True)}" for parameter in options]
    for parameter in command.params:
        if not _is_option(parameter):
            name = f"{parameter.metavar.strip('[]').removesuffix('...')}{' ...' if parameter.nargs == -1 else ''}"
            lines.append(f".Ar {name}" if parameter.required else f".Op Ar {name}")
    return "\n".join(lines) + "\n"


def _context(words: tuple[str, ...]) -> Any:
    """Return what Click reads a command in: names of the help option are the program's."""
    root = commands()[()]
    return typer.Context(commands()[words], parent=typer.Context(root, **root.context_settings))


def _commands(words: tuple[str, ...]) -> str:
    """Describe what a group holds: the program's commands in a line each, the commands of a page in full."""
    inside = {path: command for path, command in commands().items() if path[:-1] == words and path}
    if not words:
        rows = [
            f".It Cm {path[0]}\n{mdoc(first_sentence(command.help))}See\n.Xr clip-{path[0]} 1 .\n"
            for path, command in inside.items()
        ]
        return ".Bl -tag -width classify\n" + "".join(rows) + ".El\n"
    return "".join(
        f".Ss clip {' '.join(path)}\n{mdoc(split_help(command.help)[0])}"
        f"{_remark(' '.join(('clip', *path)))}{_list(path, sorted(command.params, key=_is_option))}"
        for path, command in inside.items()
    )


def _options(words: tuple[str, ...]) -> str:
    command = commands()[words]
    groups = option_groups(command, _context(words))
    if len(groups) == 1:
        return _list(words, *groups.values())
    return "".join(f".Ss {title}\n{_list(words, parameters)}" for title, parameters in groups.items())


def _list(words: tuple[str, ...], parameters: list[Any]) -> str:
    if not parameters:
        return ""
    return ".Bl -tag -width Ds\n" + "".join(_item(words, parameter) for parameter in parameters) + ".El\n"


def _item(words: tuple[str, ...], parameter: Any) -> str:
    name = _name(parameter)
    text = f".It {_spelling(parameter)}\n{mdoc(parameter.help)}"
    own = " ".join(("clip", *words, name))
    text += _remark(own if own in _remarks() else name)
    _, help_text = parameter.get_help_record(_context(words))
    for fact in re.findall(r"(?:\[|; )(default|env var): ([^;\]]+)", help_text):
        text += f"Default:\n.Cm {fact[1]} .\n" if fact[0] == "default" else f"Environment:\n.Ev {fact[1]} .\n"
    return text


def _name(parameter: Any) -> str:
    """Return the long name of an option, or what stands for an argument."""
    return max(parameter.opts, key=len) if _is_option(parameter) else parameter.metavar


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _spelling(parameter: Any, *, short: bool = False) -> str:
    """Spell a parameter in mdoc: `Fl f , Fl -format Cm auto | table`."""
    if not _is_option(parameter):
        return f"Ar {parameter.metavar.strip('[]').replace('...', ' ...')}"
    names = sorted(parameter.opts, key=len)
    flags = " , ".join(f"Fl {name[1:]}" for name in (names[:1] if short else names))
    descriptor = parameter.type_descriptor
    if parameter.is_flag:
        return flags
    if descriptor.is_choice and not parameter.metavar:
        return f"{flags} Ar {parameter.name}" if short else f"{flags} Cm {' | '.join(map(str, descriptor.choices))}"
    return f"{flags} Ar {parameter.metavar}"


def _remark(subject: str) -> str:
    return _remarks().get(subject, "")


def mdoc(text: str | None) -> str:
    """Write plain text as mdoc: a line a sentence, `code` and --options as macros, paragraphs apart."""
    paragraphs = re.split(r"\n\s*\n", (text or "").strip())
    return ".Pp\n".join(_paragraph(" ".join(paragraph.split())) for paragraph in paragraphs if paragraph)


def _paragraph(text: str) -> str:
    text = _CODE.sub(_macro, text.replace("\\", "\\e"))
    text = re.sub(r"(?<=[a-z\d)][.!?]) +(?=[A-Z(])", "\n", text)
    lines = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        if line[0] == "\0":
            lines.append("." + line[1:])
        else:  # a line of text that begins with a control character would be taken for a macro
            wrapped = textwrap.wrap(line, 78, break_on_hyphens=False, break_long_words=False)
            lines += [re.sub(r"^([.'])", r"\\&\1", part) for part in wrapped]
    return "\n".join(lines) + "\n"


def _macro(code: re.Match[str]) -> str:
    before, literal, option, after = code.groups()
    words = literal.replace('"', "\\(dq") if literal else f"-{option}"
    ends = " ".join(after)
    return f"\n\0{'Ql' if literal else 'Fl'} {before} {words} {ends}".replace("  ", " ").rstrip() + "\n"


def _fields(_: tuple[str, ...]) -> str:
    """List the fields of every document as jq spells their paths; what all images' documents share comes once."""
    schemas = {path.stem.replace("-", "/"): json.loads(path.read_text(encoding="utf-8")) for path in _schema_files()}
    found = {name: list(_walk_schema(schema, schema, "")) for name, schema in schemas.items()}
    images = [found[name] for name in found if _subject(name) in IMAGES]
    shared = [field for field in images[0] if all(field in fields for fields in images)]
    text = ".Ss Fields that classify, score and tag have\n" + _field_list(shared)
    for name, schema in schemas.items():
        own = [field for field in found[name] if _subject(name) not in IMAGES or field not in shared]
        text += f".Ss {name}\n{mdoc(schema['title'] + '.')}{_field_list(own)}"
    return text


def _subject(schema: str) -> str:
    """`tag` of `clipcli.tag/2`."""
    return schema.removeprefix("clipcli.").partition("/")[0]


def _schema_files() -> list[Path]:
    return sorted(SCHEMAS.glob("*.json"), key=lambda path: (_subject(path.stem.replace("-", "/")) not in IMAGES, path))


def _walk_schema(node: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, type and description of a schema's leaves, depth first."""
    while "$ref" in node:
        node = {**root["$defs"][node["$ref"].rsplit("/", 1)[1]], **{key: node[key] for key in node if key != "$ref"}}
    choices = [
        part for key in ("oneOf", "anyOf") for part in node.get(key, ()) if "$ref" in part or "properties" in part
    ]
    kind, text = _kind(node), node.get("description", "")
    inner = {name: part for name, part in node.get("properties", {}).items()}
    items = node.get("items", {})
    if path and not choices and not (inner and not text) and not _is_record(items, root):
        yield path, kind, text
    for part in choices:
        yield from _walk_schema(part, root, path)
    for name, part in inner.items():
        yield from _walk_schema(part, root, f"{path}.{name}")
    if _is_record(items, root):
        yield from _walk_schema(items, root, f"{path}[]")


def _is_record(node: dict[str, Any], root: dict[str, Any]) -> bool:
    return "$ref" in node or "properties" in node


def _kind(node: dict[str, Any]) -> str:
    if "const" in node:
        return json.dumps(node["const"])
    if "enum" in node:
        return " | ".join(json.dumps(value) for value in node["enum"])
    kinds = node.get("type", [part["type"] for part in node.get("oneOf", node.get("anyOf", ())) if "type" in part])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    of = node.get("items", {}).get("type") if "array" in kinds else None
    return " | ".join(f"array of {of}s" if kind == "array" and of else kind for kind in kinds)


def _models(_: tuple[str, ...]) -> str:
    """Show the registry as a table: what helps to choose, in 78 columns."""
    rows = [("model", "download", "languages", "ImageNet", "license"), *map(_model, hub.CHECKPOINTS)]
    return ".TS\nl r l n l.\n" + "".join("\t".join(row) + "\n" for row in rows) + ".TE\n"


def _model(checkpoint: hub.Checkpoint) -> tuple[str, ...]:
    size, top1, languages = checkpoint.download_bytes, checkpoint.imagenet_top1, checkpoint.languages
    return (
        checkpoint.alias,
        "?" if size is None else f"{size / 1e9:.1f} GB",
        " ".join(languages) if len(languages) < 3 else str(len(languages)),
        "?" if top1 is None else f"{top1:g}",
        (checkpoint.license or "?").replace("CreativeML-", ""),
    )


def _field_list(fields: list[tuple[str, str, str]]) -> str:
    """List paths with what may be there; one that comes several times, in rows of several kinds, is told once."""
    kinds: dict[str, dict[str, None]] = {}
    texts: dict[str, dict[str, None]] = {}
    for path, kind, text in fields:
        kinds.setdefault(path, {})[kind] = None
        texts.setdefault(path, {})[text] = None
    rows = []
    for path in kinds:
        words = " | ".join(kinds[path]).replace('"', "\\(dq").replace("\\(dq", "\\%\\(dq")
        text = mdoc(" ".join(filter(None, texts[path])))
        rows.append(f".It Li {path}\n{words}\n" + (f".br\n{text}" if text else ""))
    return ".Bl -tag -width Ds -compact\n" + "".join(rows) + ".El\n" if rows else ""


def name_families() -> None:
    """Write the names of the families into the schemas that list them."""
    names = json.dumps([*FAMILIES], indent=2).replace("\n", "\n" + " " * 10)
    for path in SCHEMAS.glob("*.json"):
        listed = re.sub(r'("family": \{\s+"enum": )\[[^]]*\]', rf"\g<1>{names}", path.read_text(encoding="utf-8"))
        path.write_text(listed, encoding="utf-8")


def main() -> None:
    """Write the families into the schemas, and then the pages."""
    name_families()
    for name, text in pages().items():
        (MAN / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
