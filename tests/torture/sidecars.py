"""Sidecars of all kinds, sound, strange and hostile, into which keywords of several label sets go and come.

After every step: what was not understood is untouched, byte for byte; what was written can be read by another parser,
holds all that others wrote, and exactly the keywords that it should.
"""

import random
import xml.etree.ElementTree as ET
from pathlib import Path

from clipcli.images.find import IMAGE_EXTENSIONS
from clipcli.library.sidecars.files import SidecarError, SidecarWriter
from clipcli.library.sidecars.keywords import Owner, keywords
from clipcli.library.sidecars.xmp import NAMESPACE

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
SUBJECT = "{http://purl.org/dc/elements/1.1/}subject"
OURS = (SUBJECT, "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject", "{http://www.digikam.org/ns/1.0/}TagsList")
NAMESPACES = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:x="urn:x" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
)
WORDS = [
    "sea",
    "R&amp;B",
    "dog",
    "  dog ",
    "犬",
    "&lt;b&gt;",
    "a|b",
    "a/b",
    "[&quot;pets&quot;,&quot;&quot;,1]",
    "",
    "x" * 300,
]
LABELS = [
    "dog",
    "cat",
    "R&B",
    "<b>",
    "犬",
    "]]>",
    '["pets", "", "dog"]',
    "a|b",
    "a/b",
    "é",
    "5",
    "null",
    "sea",
    "&amp;",
]


def trial(rng: random.Random, folder: Path) -> str:
    """One sidecar, several runs of several label sets."""
    sidecar, image = folder / "a.xmp", folder / "a.jpg"
    kind = rng.choice([_sound, _sound, _sound, _strange, _mutated, _hostile])
    content = kind(rng) if rng.random() < 0.9 else None
    if content is not None:
        sidecar.write_bytes(content)
    wanted: dict[Owner, set[str]] = {}
    foreign = _subjects(sidecar) or set()
    rest = _rest(sidecar)
    writer = SidecarWriter("stem", IMAGE_EXTENSIONS)
    outcome = "written"
    for _ in range(rng.randint(1, 6)):
        owner = Owner(rng.choice(["pets", "scenes", '"]']), rng.choice(["", "ai/", " x "]))
        labels = rng.sample(LABELS, rng.randint(0, 4))
        if rng.random() < 0.1:
            labels.append(f"bad{rng.choice('￾￿')}")
        before = sidecar.read_bytes() if sidecar.exists() else None
        spelled = keywords([("top", label) if rng.random() < 0.3 else (label,) for label in labels], owner.prefix)
        try:
            writer.write(str(image), spelled, owner)
        except SidecarError:
            outcome = "left alone"
            assert (sidecar.read_bytes() if sidecar.exists() else None) == before, "it was changed"
            continue
        wanted[owner] = set(spelled.subject)
        assert (_subjects(sidecar) or set()) == foreign | set().union(*wanted.values()), "keywords are lost or stale"
        assert _rest(sidecar) == rest or content is None, "something of others was changed"
    assert [path.name for path in folder.iterdir()] in ([], ["a.xmp"]), "something lies about"
    _take_back(writer, image, sidecar, foreign, rest if content is not None else None)
    return f"{kind.__name__.strip('_')}: {outcome}" if content is not None else f"new: {outcome}"


def _take_back(writer: SidecarWriter, image: Path, sidecar: Path, foreign: set[str], rest: str | None) -> None:
    try:
        writer.remove(str(image))
    except SidecarError:
        return
    if rest is None:
        assert not sidecar.exists(), "a sidecar of ours is left"
    else:
        assert (_subjects(sidecar) or set()) == foreign
        assert _rest(sidecar) == rest


def _sound(rng: random.Random) -> bytes:
    return _packet(rng, _subject(rng, strange=False))


def _strange(rng: random.Random) -> bytes:
    return _packet(rng, _subject(rng, strange=True))


def _mutated(rng: random.Random) -> bytes:
    data = bytearray(_sound(rng))
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[place] = rng.randrange(256)
            case 1:
                del data[place : place + rng.randint(1, 40)]
            case _:
                data[place:place] = rng.choice([b"<", b">", b"&", b"<!--", b"]]>", b"\0", b"\xff", b"<!DOCTYPE a>"])
    return bytes(data)


def _hostile(rng: random.Random) -> bytes:
    inner = rng.choice(
        [
            "<x:a>" * rng.randint(50, 5000),
            "".join("<x:a>" for _ in range(300)) + "".join("</x:a>" for _ in range(300)),
            "<x:a/>" * rng.randint(100_000, 300_000),
            "<x:a " + " ".join(f'b{i}=""' for i in range(120_000)) + "/>",
            "<!-- -->" * 150_000,
        ]
    )
    doctype = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]>' if rng.random() < 0.3 else ""
    return (doctype + f"<rdf:RDF {NAMESPACES}><rdf:Description>{inner}</rdf:Description></rdf:RDF>").encode()


def _packet(rng: random.Random, subject: str) -> bytes:
    other = rng.choice(
        ["", "<xmp:Rating>3</xmp:Rating>", "<x:deep><x:er a='&#10;&quot;'>t</x:er></x:deep>", "<!-- kept -->"]
    )
    if rng.random() < 0.3:
        other += "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'><![CDATA[a <b>]]></rdf:li></rdf:Alt></dc:title>"
    attributes = rng.choice(["", ' rdf:about=""', " rdf:about='' x:kept='&amp;&#9;'"])
    about = f"<rdf:Description{attributes}>"
    body = rng.choice([f"{other}{subject}", f"{subject}\n {other}", f"{other}</rdf:Description>{about}{subject}"])
    text = f"<rdf:RDF {NAMESPACES}>{about}{body}</rdf:Description></rdf:RDF>"
    if rng.random() < 0.7:
        text = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n {text}\n</x:xmpmeta>'
    if rng.random() < 0.3:
        text = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{text}\n<?xpacket end="w"?>'
        return text.encode()
    encoding = rng.choice(["UTF-8", "UTF-8", "UTF-16"])
    return f'<?xml version="1.0" encoding="{encoding}"?>\n{text}'.encode(encoding)


def _subject(rng: random.Random, *, strange: bool) -> str:
    items = "".join(f"<rdf:li>{rng.choice(WORDS)}</rdf:li>" for _ in range(rng.randint(0, 4)))
    if not strange:
        array = rng.choice(["Bag", "Seq", "Alt"])
        whole = f"<dc:subject>\n<rdf:{array}>{items}</rdf:{array}></dc:subject>"
        return rng.choice(["", whole, whole, "<dc:subject>sea</dc:subject>", "<dc:subject/>"])
    return rng.choice(
        [
            f"<dc:subject rdf:parseType='Resource'><rdf:Bag>{items}</rdf:Bag></dc:subject>",
            "<dc:subject rdf:resource='urn:a'/>",
            f"<dc:subject><rdf:Bag>{items}</rdf:Bag><rdf:Bag>{items}</rdf:Bag></dc:subject>",
            f"<dc:subject>text<rdf:Bag>{items}</rdf:Bag></dc:subject>",
            f"<dc:subject><rdf:Bag>{items}<x:li>a</x:li></rdf:Bag></dc:subject>",
            f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>" * 2,
            "<dc:subject><x:struct><x:a>1</x:a></x:struct></dc:subject>",
            "<lr:hierarchicalSubject><x:a/></lr:hierarchicalSubject>",
        ]
    )


def _root(sidecar: Path) -> ET.Element | None:
    try:
        return ET.fromstring(sidecar.read_bytes())
    except (OSError, ET.ParseError, ValueError, LookupError):
        return None


def _subjects(sidecar: Path) -> set[str] | None:
    root = _root(sidecar)
    if root is None:
        return None
    found = set()
    for element in root.iter(SUBJECT):
        if not len(element) and (element.text or "").strip():
            found.add((element.text or "").strip())
        found |= {(item.text or "").strip() for item in element.iter(f"{RDF}li")}
    return found


def _rest(sidecar: Path) -> str | None:
    """A canonical form of all but what is ours; None where another parser cannot read it either."""
    root = _root(sidecar)
    if root is None:
        return None
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in OURS or child.tag.startswith(f"{{{NAMESPACE}}}"):
                parent.remove(child)
    return ET.canonicalize(ET.tostring(root, encoding="unicode"), strip_text=True)
