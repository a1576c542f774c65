"""Keywords in an XMP packet: what is there stays, ours come and go.

Which keywords are ours, and whose of ours, is remembered in the packet itself, in bags of the namespace `NAMESPACE`,
one for each property that we write to. An item is a JSON array of label set, prefix and keyword: one text, which every
program that rewrites XMP keeps. A keyword that was there before us is not ours, and never removed.

What is written in a form that is not understood here (a property twice, structures, references) makes the whole packet
one that must not be written.

Source: XMP specification part 1 (ISO 16684-1), section 7 (properties as RDF/XML).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.dom.minidom import Document, Element

from clipcli.library.events import KeywordChange
from clipcli.library.sidecars import dom
from clipcli.library.sidecars.keywords import Keywords, Owner

NAMESPACE = "urn:clipcli:xmp/1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_X = "adobe:ns:meta/"
_XMLNS = "http://www.w3.org/2000/xmlns/"
_XML = "http://www.w3.org/XML/1998/namespace"
_DC = "http://purl.org/dc/elements/1.1/"
_LR = "http://ns.adobe.com/lightroom/1.0/"
_DIGIKAM = "http://www.digikam.org/ns/1.0/"
_ARRAYS = ("Bag", "Seq", "Alt")
_EMPTY = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="clipcli">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about="">
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
""".encode()


class XmpError(Exception):
    """The packet cannot be read, so it must not be written."""


@dataclass(frozen=True, slots=True)
class _Property:
    uri: str
    prefix: str
    name: str
    array: str  # what a new one is written as; one that is there stays what it is

    @property
    def memory(self) -> "_Property":
        """The property that remembers which values are ours."""
        return _Property(NAMESPACE, "clipcli", self.name, "Bag")


_SUBJECT = _Property(_DC, "dc", "subject", "Bag")
_HIERARCHICAL_SUBJECT = _Property(_LR, "lr", "hierarchicalSubject", "Bag")
_TAGS_LIST = _Property(_DIGIKAM, "digiKam", "TagsList", "Seq")


def merge(packet: bytes | None, keywords: Keywords, owner: Owner | None) -> tuple[bytes, tuple[KeywordChange, ...]]:
    """Put keywords into a packet, and take out those of the same owner that no longer hold.

    Args:
        packet: An XMP file; None for a new one.
        keywords: All that the owner has to say of the image.
        owner: Whose keywords they are; None for everyone's of ours, to take them all back.

    Returns:
        The new packet, and which keywords changed. It is the old packet, byte for byte, where there is nothing to do;
        without changed keywords it may still differ in what is remembered of whose they are.

    Raises:
        XmpError: The packet is not XMP, or not such that we understand it.
    """
    document = _parse(_EMPTY if packet is None else packet)
    rdf = _find_rdf(document)
    memory = _memories(rdf)
    changes = [_merge_property(rdf, kind, values, owner) for kind, values in _values_of(keywords)]
    if (
        packet is not None
        and _memories(rdf) == memory
        and not any(change.added or change.removed for change in changes)
    ):
        return packet, ()
    try:
        merged = dom.serialize(document)
    except dom.XmlError as error:
        raise XmpError(f"a keyword is not text: {error}") from error
    # What is written must be what was meant: a character that XML has not would make it unreadable for everyone.
    again = _find_rdf(_parse(merged))
    for kind, values in _values_of(keywords):
        if not set(values) <= set(_values(again, kind)):
            raise XmpError(f"{kind.name} would not come back as it is written")
    return merged, tuple(change for change in changes if change.added or change.removed)


def is_empty(packet: bytes) -> bool:
    """Whether a packet that we made holds nothing any more."""
    document = _parse(packet)
    ours = any(root.getAttributeNS(_X, "xmptk") == "clipcli" for root in dom.elements(document))
    descriptions = _descriptions(_find_rdf(document))
    return ours and not any(
        list(dom.elements(description)) or len(_attributes(description, but=((_RDF, "about"),)))
        for description in descriptions
    )


def _parse(packet: bytes) -> Document:
    try:
        return dom.parse(packet)
    except dom.XmlError as error:
        raise XmpError(f"not well-formed XML: {error}") from error


def _values_of(keywords: Keywords) -> tuple[tuple[_Property, Sequence[str]], ...]:
    return (
        (_SUBJECT, keywords.subject),
        (_HIERARCHICAL_SUBJECT, keywords.hierarchical_subject),
        (_TAGS_LIST, keywords.tags_list),
    )


def _find_rdf(document: Document) -> Element:
    candidates = [element for root in dom.elements(document) for element in (root, *dom.elements(root))]
    found = [element for element in candidates if dom.is_named(element, _RDF, "RDF")]
    if not found:
        raise XmpError("XML, but not XMP: it has no rdf:RDF")
    if len(found) > 1:
        raise XmpError("it has more than one rdf:RDF")
    for element in dom.elements(found[0]):
        if not dom.is_named(element, _RDF, "Description"):
            raise XmpError(f"{element.tagName} in place of an rdf:Description is not understood")
    return found[0]


def _merge_property(rdf: Element, kind: _Property, wanted: Sequence[str], owner: Owner | None) -> KeywordChange:
    remembered = [_memory(item) for item in _values(rdf, kind.memory)]
    ours = {value for _, value in remembered}
    others = {value for whose, value in remembered if not _is_whose(whose, owner)}
    there = _values(rdf, kind)
    removed = tuple(v for v in dict.fromkeys(there) if v in ours and v not in others and v not in wanted)
    added = tuple(value for value in wanted if value not in there)
    _edit(rdf, kind, add=added, remove=removed)
    kept = [item for item in _values(rdf, kind.memory) if not _is_whose(_memory(item)[0], owner)]
    if owner is not None:
        kept += [_item(owner, value) for value in wanted if value in ours or value in added]
    there = _values(rdf, kind.memory)
    add, remove = [item for item in kept if item not in there], [item for item in there if item not in kept]
    _edit(rdf, kind.memory, add=add, remove=remove)
    return KeywordChange(f"{kind.prefix}:{kind.name}", added, removed)


def _memories(rdf: Element) -> list[list[str]]:
    return [_values(rdf, kind.memory) for kind in (_SUBJECT, _HIERARCHICAL_SUBJECT, _TAGS_LIST)]


def _is_whose(whose: Owner | None, owner: Owner | None) -> bool:
    """Whether a keyword is an owner's; one that was written before owners were is anybody's."""
    return owner is None or whose is None or whose == owner


def _item(owner: Owner, value: str) -> str:
    return json.dumps([owner.label_set, owner.prefix, value], ensure_ascii=False)


def _memory(item: str) -> tuple[Owner | None, str]:
    """Whose keyword is remembered in an item of our bags, and which."""
    try:
        parts = json.loads(item)
    except (ValueError, RecursionError):
        return None, item
    match parts:
        case [str(label_set), str(prefix), str(value)]:
            return Owner(label_set, prefix), value
    return None, item


def _values(rdf: Element, kind: _Property) -> list[str]:
    found = _find(rdf, kind)
    if found is None:
        return []
    description, element = found
    if element is None:
        return [description.getAttributeNS(kind.uri, kind.name).strip()]
    array = _array_of(element, kind)
    return [dom.text_of(item) for item in _items(array)] if array is not None else [dom.text_of(element)]


def _edit(rdf: Element, kind: _Property, *, add: Iterable[str], remove: Iterable[str]) -> None:
    add, remove = list(add), set(remove)
    if not add and not remove:
        return
    element = _element(rdf, kind)
    array = _array_of(element, kind) or _make_array(element, kind)
    for item in list(_items(array)):
        if dom.text_of(item) in remove and not list(dom.elements(item)):
            dom.remove(item)
    for value in add:
        dom.append(array, _RDF, "li", "rdf", value)
    if not list(dom.elements(array)):
        dom.remove(element)


def _find(rdf: Element, kind: _Property) -> tuple[Element, Element | None] | None:
    """Find a property in whichever description has it, with None for the element where it is an attribute.

    Raises:
        XmpError: It is there more than once.
    """
    found: list[tuple[Element, Element | None]] = []
    for description in _descriptions(rdf):
        if description.hasAttributeNS(kind.uri, kind.name):  # RDF's short form for a single value
            found.append((description, None))
        properties = dom.elements(description)
        found.extend((description, child) for child in properties if dom.is_named(child, kind.uri, kind.name))
    if len(found) > 1:
        raise XmpError(f"{kind.name} is there more than once")
    return found[0] if found else None


def _element(rdf: Element, kind: _Property) -> Element:
    """The element of a property; made where there is none, or only an attribute."""
    found = _find(rdf, kind)
    if found is None:
        return dom.append(_description(rdf), kind.uri, kind.name, kind.prefix)
    description, element = found
    if element is not None:
        return element
    value = description.getAttributeNS(kind.uri, kind.name)
    description.removeAttributeNS(kind.uri, kind.name)
    return dom.append(description, kind.uri, kind.name, kind.prefix, value)


def _descriptions(rdf: Element) -> list[Element]:
    return [element for element in dom.elements(rdf) if dom.is_named(element, _RDF, "Description")]


def _description(rdf: Element) -> Element:
    """The description that takes new properties."""
    found = _descriptions(rdf)
    if found:
        return found[0]
    description = dom.append(rdf, _RDF, "Description", "rdf")
    description.setAttributeNS(_RDF, f"{description.prefix}:about", "")
    return description


def _array_of(element: Element, kind: _Property) -> Element | None:
    """The array of a property; None where it holds one plain text, or nothing.

    Raises:
        XmpError: It holds something else.
    """
    children = list(dom.elements(element))
    text = dom.text_of(element)
    plain = not _attributes(element, but=((_XML, "lang"),))
    if plain and not children:
        return None
    arrays = [child for child in children for name in _ARRAYS if dom.is_named(child, _RDF, name)]
    if plain and len(children) == len(arrays) == 1 and not text and not _attributes(arrays[0]):
        items = list(dom.elements(arrays[0]))
        if not dom.text_of(arrays[0]) and all(dom.is_named(item, _RDF, "li") for item in items):
            return arrays[0]
    raise XmpError(f"{kind.name} has a form that is not understood")


def _attributes(element: Element, but: Sequence[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """The attributes that say something: not those that declare namespaces. Each as namespace and name."""
    names = [(uri or "", name) for uri, name in element.attributes.keysNS()]
    return [(uri, name) for uri, name in names if uri != _XMLNS and (uri, name) not in but]


def _make_array(element: Element, kind: _Property) -> Element:
    """Turn a property with a plain text into an array with that one value."""
    value = dom.text_of(element)
    while element.firstChild is not None:
        element.removeChild(element.firstChild)
    array = dom.append(element, _RDF, kind.array, "rdf")
    if value:
        dom.append(array, _RDF, "li", "rdf", value)
    return array


def _items(array: Element) -> list[Element]:
    return [item for item in dom.elements(array) if dom.is_named(item, _RDF, "li")]
