"""Keywords in an XMP packet: what is there stays, ours come and go.

Which keywords are ours is remembered in the packet itself, in bags of the namespace `NAMESPACE`, one for each
property that we write to. A keyword that was there before us is not ours, and never removed.

Source: XMP specification part 1 (ISO 16684-1), section 7 (properties as RDF/XML).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.dom.minidom import Document, Element

from clipcli.library.events import KeywordChange
from clipcli.library.sidecars import dom
from clipcli.library.sidecars.keywords import Keywords

NAMESPACE = "urn:clipcli:xmp/1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
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


def merge(packet: bytes | None, keywords: Keywords) -> tuple[bytes, tuple[KeywordChange, ...]]:
    """Put keywords into a packet, and take out those of ours that no longer hold.

    Args:
        packet: An XMP file; None for a new one.
        keywords: All that we have to say of the image.

    Returns:
        The new packet, and what changed; without changes it need not be written.

    Raises:
        XmpError: The packet is not XMP.
    """
    try:
        document = dom.parse(_EMPTY if packet is None else packet)
    except dom.XmlError as error:
        raise XmpError(f"not well-formed XML: {error}") from error
    rdf = _find_rdf(document)
    wanted = (
        (_SUBJECT, keywords.subject),
        (_HIERARCHICAL_SUBJECT, keywords.hierarchical_subject),
        (_TAGS_LIST, keywords.tags_list),
    )
    changes = [_merge_property(rdf, kind, values) for kind, values in wanted]
    return dom.serialize(document), tuple(change for change in changes if change.added or change.removed)


def _find_rdf(document: Document) -> Element:
    candidates = [element for root in dom.elements(document) for element in (root, *dom.elements(root))]
    found = next((element for element in candidates if dom.is_named(element, _RDF, "RDF")), None)
    if found is None:
        raise XmpError("XML, but not XMP: it has no rdf:RDF")
    return found


def _merge_property(rdf: Element, kind: _Property, wanted: Sequence[str]) -> KeywordChange:
    ours = _values(rdf, kind.memory)
    there = _values(rdf, kind)
    removed = tuple(value for value in dict.fromkeys(there) if value in ours and value not in wanted)
    added = tuple(value for value in wanted if value not in there)
    _edit(rdf, kind, add=added, remove=removed)
    now_ours = [value for value in wanted if value in ours or value in added]
    _edit(
        rdf,
        kind.memory,
        add=[value for value in now_ours if value not in ours],
        remove=[value for value in ours if value not in now_ours],
    )
    return KeywordChange(f"{kind.prefix}:{kind.name}", added, removed)


def _values(rdf: Element, kind: _Property) -> list[str]:
    element = _find(rdf, kind)
    if element is None:
        return []
    array = _array_of(element)
    return [dom.text_of(item) for item in _items(array)] if array is not None else [dom.text_of(element)]


def _edit(rdf: Element, kind: _Property, *, add: Sequence[str], remove: Sequence[str]) -> None:
    if not add and not remove:
        return
    element = _find(rdf, kind) or dom.append(_description(rdf), kind.uri, kind.name, kind.prefix)
    array = _array_of(element) or _make_array(element, kind)
    for item in list(_items(array)):
        if dom.text_of(item) in remove:
            dom.remove(item)
    for value in add:
        dom.append(array, _RDF, "li", "rdf", value)
    if not list(_items(array)):
        dom.remove(element)


def _find(rdf: Element, kind: _Property) -> Element | None:
    """Find a property in whichever description has it; one written as an attribute becomes an element."""
    for description in _descriptions(rdf):
        for element in dom.elements(description):
            if dom.is_named(element, kind.uri, kind.name):
                return element
        if description.hasAttributeNS(kind.uri, kind.name):  # RDF's short form for a single value
            value = description.getAttributeNS(kind.uri, kind.name)
            description.removeAttributeNS(kind.uri, kind.name)
            return dom.append(description, kind.uri, kind.name, kind.prefix, value)
    return None


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


def _array_of(element: Element) -> Element | None:
    arrays = (child for child in dom.elements(element) for name in _ARRAYS if dom.is_named(child, _RDF, name))
    return next(arrays, None)


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
