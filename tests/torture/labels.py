"""Label sets and lists of labels that somebody else wrote: hostile by design, or changed at random.

`clip labels check` and `clip labels show` read each. What is held: status 0, or 2 with a sentence that is not too long;
no traceback; nothing is written; a trial ends within seconds and takes no more memory than its file explains.
"""

import json
import os
import random
from functools import cache
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from clipcli.cli.app import app
from clipcli.errors import ExitStatus
from clipcli.labels.library import built_in_folder
from tests.torture import campaign

MOST_SECONDS = 60
MOST_BYTES = 10**9
CHARACTERS = [
    "\0", "\x07", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ufeff", "\ufffe", "\uffff", "\ue000", "\U0010ffff", "\t",
    "e" + "\u0301" * 5000, "\r", "\x7f", "\u200b", "\u3000", "ﷺ",
]  # fmt: skip
VALUES = [
    "no", "7", "~", "", "[]", "{}", "[[]]", "- x", "&a x", "*a", "!!python/object/apply:os.mkdir [intruder]", "!x y",
    "? x", "| \n  x", ">-\n x", "'", '"', "%YAML 9.9", "---", "...", "{name: cat}", "2024-01-01", "1e400", "0x7f",
    '"\\0"', '"\\ud800"', '"\\ufffe"', "../../../etc/passwd", "/dev/zero", "x" * 100_000, "a/b/c", "/", "\\/", "{}",
    "{} {}", "a {x} {0} {{}}", "9" * 5000, "-1", ".nan", ".inf", "@x", "`", "<<: *a", "{<<: {name: x}}",
]  # fmt: skip
JSON: list[object] = [[], {}, None, 7, "x", ["x", "x"], [None], [[]], [""], ["a"] * 10_000, {"a": []}, float("nan")]
KEYS = [
    "name", "description", "language", "source", "include", "concept", "templates", "labels", "none", "background",
    "calibration", "taught", "prompts", "descriptors", "examples", "threshold", "id", "group", "extra", "", "<<",
]  # fmt: skip
INTERRUPTIONS = [b"[", b"]", b"{", b"}", b":", b"- ", b"\t", b"&a ", b"*a ", b"!!", b"#", b"'", b'"', b"\xff", b"\0"]


def trial(rng: random.Random, folder: Path) -> str:
    """One label set, in one or several files."""
    kind = rng.choice(KINDS)
    arguments = kind(rng, folder)
    before = set(folder.rglob("*"))
    with campaign.bounded(MOST_SECONDS, MOST_BYTES), campaign.variables(CLIPCLI_CONFIG_DIR=str(folder / "user")):
        result = CliRunner().invoke(app, arguments)
    if not set(folder.rglob("*")) - before <= {folder / "imported.yaml"}:
        raise AssertionError("files were written")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{arguments}: a traceback") from result.exception
    if result.exit_code not in (ExitStatus.OK, ExitStatus.USAGE):
        raise AssertionError(f"{arguments}: status {result.exit_code}: {result.stderr[:500]}")
    if result.exit_code == ExitStatus.USAGE and not _is_a_sentence(result.stderr):
        raise AssertionError(f"{arguments}: not a sentence: {result.stderr[:500]!r}")
    if any(character in result.output for character in "\0\x07\x1b"):
        raise AssertionError(f"{arguments}: control characters reach the terminal")
    return f"{kind.__name__.strip('_')}: {ExitStatus(result.exit_code).name.lower()}"


def _is_a_sentence(text: str) -> bool:
    return text.startswith("clip: error: ") and "Traceback" not in text and len(text) < 6000 and text.count("\n") < 10


@cache
def _seeds() -> list[str]:
    paths = [*built_in_folder().glob("*.yaml"), *built_in_folder().glob("templates/*.yaml")]
    return sorted(path.read_text(encoding="utf-8") for path in paths if path.stat().st_size < 20_000)


def _read(rng: random.Random, path: Path) -> list[str]:
    """One of the commands that read a label set."""
    name = os.fspath(path)
    return rng.choice([["check", name], ["show", name], ["show", name, "--prompts"], ["show", name, "--json"]])


def _file(rng: random.Random, folder: Path, content: bytes | str) -> list[str]:
    name = rng.choice([b"a.yaml", b"a.yaml", b"a.yml", b"\xff\xfe.yaml", b"\x1b[31m.yaml", b"a b\n.yaml"])
    path = folder / os.fsdecode(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return ["labels", *_read(rng, path)]


def _mutated(rng: random.Random, folder: Path) -> list[str]:
    """A sound file, changed at random."""
    data = bytearray(rng.choice(_seeds()).encode())
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[place : place + 1] = rng.randbytes(1)
            case 1:
                del data[place : place + rng.randint(1, 60)]
            case 2:
                data[place:place] = rng.choice(INTERRUPTIONS) * rng.choice([1, 1, 1, 3, 500])
            case 3:
                data[place:place] = data[place : place + rng.randint(1, 400)]
            case _:
                data[place:place] = rng.choice(CHARACTERS).encode()
    return _file(rng, folder, bytes(data))


def _values(rng: random.Random, folder: Path) -> list[str]:
    """Any value under any key."""
    lines = ["labels: [cat, dog]"] if rng.random() < 0.5 else []
    for _ in range(rng.randint(1, 5)):
        key, value = rng.choice(KEYS), rng.choice(VALUES)
        entry = f"{{name: fox, {key}: {value}}}" if rng.random() < 0.5 else value
        lines += [f"{key}: {value}", f"{key}:\n- {entry}\n- {rng.choice(VALUES)}"][rng.randrange(2) :][:1]
    return _file(rng, folder, "\n".join(lines) + rng.choice(["", "\n"]))


def _characters(rng: random.Random, folder: Path) -> list[str]:
    """Labels, prompts and templates with characters that do something elsewhere."""
    strange = [f"cat{rng.choice(CHARACTERS)}{i}" for i in range(rng.randint(1, 4))]
    quoted = ['"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"' for text in strange]
    texts = [rng.choice(pair) for pair in zip(strange, quoted, strict=True)]
    where = rng.choice(
        ["labels: [%s, dog]", "labels: [{name: dog, prompts: [%s]}]", "templates: ['{} %s']\nlabels: [a]"]
    )
    return _file(rng, folder, where.replace("%s", ", ".join(texts)))


def _deep(rng: random.Random, folder: Path) -> list[str]:
    """Nesting without end."""
    depth = rng.choice([15, 17, 1000, 100_000, 3_000_000])
    unit = rng.choice(["[", "{a: ", "- ", "? ", "[{a: ", "!!seq [", "&a [", "{? "])
    begin = rng.choice(["", "labels: ", "labels: [cat]\ncalibration: "])
    return _file(rng, folder, begin + unit * min(depth, 9_000_000 // len(unit)))


def _many(rng: random.Random, folder: Path) -> list[str]:
    """Much of everything."""
    count = rng.choice([1000, 30_000])
    content = rng.choice(
        [
            lambda: "labels:\n" + "".join(f"- label {i}\n" for i in range(count)),
            lambda: "labels: [a, b]\ntemplates:\n" + "".join(f"- x{i} {{}}\n" for i in range(count)),
            lambda: "labels:\n- {name: a, prompts: [" + ", ".join(f"p{i}" for i in range(count)) + "]}\n",
            lambda: "labels: [a, b]\n" + "".join(f"k{i}: x\n" for i in range(count)),
            lambda: "labels: [" + "x" * (count * 100) + "]\n",
            lambda: "labels: [" + "/".join(f"x{i}" for i in range(count)) + "]\n",
            lambda: "#" * (count * 300),
            lambda: "x" * 10_000_001,
            lambda: "labels: [a]\n" + "---\nlabels: [a]\n" * count,
            lambda: "a: &a [x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(count)),
            lambda: "labels: [cat,\n" + "\n" * count + "dog",
            lambda: "labels: [a, a]\n" * count,
            lambda: "labels: ['" + "{}" * count + "']\n",
            lambda: "labels: [a]\nbackground: [" + "{" * count,
        ]
    )
    return _file(rng, folder, content())


def _includes(rng: random.Random, folder: Path) -> list[str]:
    """Files that include each other: in circles, in chains, each many times."""
    count = rng.choice([1, 2, 5, 30])
    for number in range(count):
        others = [f"./{rng.randrange(count)}.yaml" for _ in range(rng.choice([1, 2, 2, 40]))]
        if rng.random() < 0.5:
            others = [f"./{min(number + 1, count - 1)}.yaml"] * rng.choice([1, 2])
        if rng.random() < 0.1:
            others.append(rng.choice(["/dev/zero", "./gone.yaml", "pets", "../" * 3000, "./pipe.yaml", "~root/x.yaml"]))
        own = f"labels: [label {number}]\n" if rng.random() < 0.8 else ""
        templates = rng.choice(["", "", f"templates: ./{rng.randrange(count)}.yaml\n"])
        (folder / f"{number}.yaml").write_text(f"include: [{', '.join(others)}]\n{own}{templates}")
    (folder / "user" / "prompts").mkdir(parents=True)
    (folder / "user" / "prompts" / "pets.yaml").write_text("include: pets\nlabels: [unicorn]\n")
    return ["labels", *_read(rng, folder / "0.yaml")]


def _special(rng: random.Random, folder: Path) -> list[str]:
    """What is not a file."""
    path = folder / "a.yaml"
    match rng.randrange(7):
        case 0:
            path.mkdir()
        case 1:
            path.symlink_to("/dev/zero")
        case 2:
            path.symlink_to(path.name)
        case 3:
            os.mkfifo(path)
        case 4:
            path.symlink_to("/proc/self/mem")
        case 5:
            with path.open("wb") as stream:
                stream.truncate(2**36)
        case _:
            path = folder / ("x" * rng.choice([300, 5000]) + ".yaml")
    return ["labels", *_read(rng, path)]


def _list(rng: random.Random, folder: Path) -> list[str]:
    """A list of labels as plain text, for one image."""
    lines = [rng.choice([*VALUES, *CHARACTERS, "dog", "cat\t" * 1000, "\ud800"]) for _ in range(rng.randint(1, 12))]
    path = folder / "labels.txt"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + rng.choice([b"", b"\n", b"\xff", b"\0"]))
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    return ["classify", str(folder / "a.png"), "-l", f"@{path}", "-m", "demo", "--no-cache", "--json"]


def _json(rng: random.Random, folder: Path) -> list[str]:
    """A file of prompts as JSON, which `clip labels import` turns into a label set; here it only fails or is shown."""
    content = {"cat": ["a cat"], rng.choice(CHARACTERS): [rng.choice(CHARACTERS)], rng.choice(VALUES): rng.choice(JSON)}
    text = json.dumps(content)
    text = rng.choice([text, text, text[: rng.randrange(len(text))], "[" * 200_000, '{"a":' * 200_000, "", "9" * 5000])
    (folder / "prompts.json").write_text(text)
    return ["labels", "import", str(folder / "prompts.json"), str(folder / "imported.yaml")]


KINDS = [_mutated, _mutated, _values, _values, _characters, _deep, _many, _includes, _special, _list, _json]
