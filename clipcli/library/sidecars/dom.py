"""XML read and written so that what is not touched stays as it was: prefixes, comments, order, unknown namespaces.

A document type declaration is refused before anything is built, so there are no entities to expand; so is a document
that is nested deeper, or made of more nodes, than any program writes.
"""

from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any, TypeAlias
from xml.dom import expatbuilder, minidom
from xml.dom.minidom import Element, Node
from xml.parsers import expat

# Any kind of node: the standard library's classes have no common type with what they have in common.
AnyNode: TypeAlias = Any

_XMLNS = "http://www.w3.org/2000/xmlns/"
_TEXT = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
# Metadata is nested a dozen deep. darktable's longest histories have some thousand nodes; each takes about 1 kB.
_DEEPEST = 100
_MOST_NODES = 100_000
# A parser turns a bare line break or tab in an attribute into a space.
_ATTRIBUTE = {**_TEXT, '"': "&quot;", "\n": "&#10;", "\t": "&#9;"}


class XmlError(Exception):
    """The document is not XML that we read."""


def parse(data: bytes) -> minidom.Document:
    """Parse a document.

    Raises:
        XmlError: It is not well-formed, has a document type declaration, or is too deep or too large.
    """
    try:
        _Guard().check(data)
        return expatbuilder.parseString(data)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two: encodings
        raise XmlError(str(error)) from error


def serialize(document: minidom.Document) -> bytes:
    """Write a document as UTF-8, with an XML declaration where it had one.

    Raises:
        XmlError: It holds a lone surrogate.
    """
    text = StringIO()
    if document.version is not None:
        text.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    for node in document.childNodes:
        _write(node, text)
        text.write("\n")
    try:
        return text.getvalue().encode("utf-8")
    except UnicodeEncodeError as error:
        raise XmlError(str(error)) from error


def elements(parent: AnyNode) -> Iterator[Element]:
    """The child elements of a node."""
    return (child for child in parent.childNodes if isinstance(child, Element))


def is_named(element: Element, uri: str, name: str) -> bool:
    """Whether an element has a name, whatever its prefix."""
    return (element.namespaceURI, element.localName) == (uri, name)


def text_of(element: Element) -> str:
    """The text directly in an element, without the white space around it."""
    kinds = (Node.TEXT_NODE, Node.CDATA_SECTION_NODE)
    children: list[AnyNode] = list(element.childNodes)
    return "".join(child.data for child in children if child.nodeType in kinds).strip()


def append(parent: AnyNode, uri: str, name: str, prefix: str, text: str = "") -> Element:
    """Add a child element on a line of its own.

    Args:
        parent: Where.
        uri: Its namespace.
        name: Its local name.
        prefix: Declared here where the namespace has none yet; numbered where it is taken.
        text: What it holds.
    """
    document = parent.ownerDocument
    child: Element = document.createElementNS(uri, f"{_prefix(parent, uri, prefix)}:{name}")
    if text:
        child.appendChild(document.createTextNode(text))
    indent = "\n" + " " * _depth(parent)
    last = parent.lastChild
    if last is not None and last.nodeType == Node.TEXT_NODE and not last.data.strip():
        parent.removeChild(last)
    parent.appendChild(document.createTextNode(f"{indent} "))
    parent.appendChild(child)
    parent.appendChild(document.createTextNode(indent))
    return child


def remove(element: Element) -> None:
    """Take an element out, with the white space before it."""
    parent: AnyNode = element.parentNode
    before: AnyNode = element.previousSibling
    if before is not None and before.nodeType == Node.TEXT_NODE and not before.data.strip():
        parent.removeChild(before)
    parent.removeChild(element)


class _Guard:
    """Looks at a document without building anything."""

    def __init__(self) -> None:
        self._depth = self._nodes = 0

    def check(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CommentHandler = parser.ProcessingInstructionHandler = self._count
        parser.StartCdataSectionHandler = self._count
        parser.Parse(data, True)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise XmlError(f"its elements are nested more than {_DEEPEST} deep")
        self._count(number=1 + len(attributes))

    def _end(self, name: str) -> None:
        self._depth -= 1

    def _count(self, *_: object, number: int = 1) -> None:
        self._nodes += number
        if self._nodes > _MOST_NODES:
            raise XmlError(f"it has more than {_MOST_NODES:,} elements and attributes")

    def _refuse_doctype(self, *_: object) -> None:
        raise XmlError("it has a document type declaration, which XMP never has")


def _prefix(element: AnyNode, uri: str, wanted: str) -> str:
    """The prefix of a namespace within an element, declared on it if need be."""
    bound: dict[str, str] = {}
    node = element
    while isinstance(node, Element):
        for name, value in node.attributes.items():
            if name.startswith("xmlns:"):
                bound.setdefault(name.removeprefix("xmlns:"), value)
        node = node.parentNode
    for prefix, bound_uri in bound.items():
        if bound_uri == uri:
            return prefix
    number, prefix = 1, wanted
    while prefix in bound:
        number, prefix = number + 1, f"{wanted}{number}"
    element.setAttributeNS(_XMLNS, f"xmlns:{prefix}", uri)
    return prefix


def _depth(node: AnyNode) -> int:
    depth = 0
    while isinstance(node.parentNode, Element):
        depth, node = depth + 1, node.parentNode
    return depth


def _write(node: AnyNode, text: StringIO) -> None:
    match node.nodeType:
        case Node.ELEMENT_NODE:
            _write_element(node, text)
        case Node.TEXT_NODE:
            text.write(_escape(node.data, _TEXT))
        case Node.CDATA_SECTION_NODE:
            text.write(f"<![CDATA[{node.data}]]>")
        case Node.COMMENT_NODE:
            text.write(f"<!--{node.data}-->")
        case Node.PROCESSING_INSTRUCTION_NODE:
            text.write(f"<?{node.target} {node.data}?>")


def _write_element(element: AnyNode, text: StringIO) -> None:
    text.write(f"<{element.tagName}")
    # Namespaces first, as the parser gives them: what we declared would otherwise move at the next writing.
    for name, value in sorted(element.attributes.items(), key=lambda item: not item[0].startswith("xmlns")):
        text.write(f' {name}="{_escape(value, _ATTRIBUTE)}"')
    if not element.hasChildNodes():
        text.write("/>")
        return
    text.write(">")
    for child in element.childNodes:
        _write(child, text)
    text.write(f"</{element.tagName}>")


def _escape(value: str, table: Mapping[str, str]) -> str:
    return "".join(table.get(character, character) for character in value)
