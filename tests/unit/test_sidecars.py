import os
import stat
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from clipcli.images.find import IMAGE_EXTENSIONS
from clipcli.labels.label_set import Label, LabelSet
from clipcli.library.events import KeywordChange, SidecarChanged, SidecarUnchanged
from clipcli.library.sidecars.files import SidecarError, SidecarWriter
from clipcli.library.sidecars.keywords import Keywords, Owner, keywords, owner_of
from clipcli.library.sidecars.xmp import NAMESPACE, XmpError, is_empty, merge
from tests.helpers.xmp import HIERARCHICAL, LIGHTROOM, SUBJECT, TAGS_LIST, values

NOTHING = keywords([])
DOG = keywords([("animal", "dog")])
CAT = keywords([("animal", "cat")])
PETS = Owner("pets")

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:darktable="http://darktable.sf.net/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
   xmp:Rating="3"
   xmpMM:DerivedFrom="IMG_0001.CR2"
   darktable:xmp_version="5"
   darktable:history_end="2">
   <!-- edited on the train -->
   <darktable:masks_history>
    <rdf:Seq/>
   </darktable:masks_history>
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:num="0"
      darktable:operation="exposure"
      darktable:params="gz01eJxjYGBgYAFiCQYYOOHEgAYY0QVwggZ7CB6pfNoAAE0CGQI="
      darktable:multi_name="a &lt; b &amp; &quot;c&quot;&#10;second line"/>
    </rdf:Seq>
   </darktable:history>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>holiday</rdf:li>
     <rdf:li>mine</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>places|Spain</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def without_ours(packet: bytes | str) -> str:
    """A canonical form of all but the properties that we write to."""
    root = ET.fromstring(packet)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (SUBJECT, HIERARCHICAL, TAGS_LIST) or child.tag.startswith(f"{{{NAMESPACE}}}"):
                parent.remove(child)
    return ET.canonicalize(ET.tostring(root, encoding="unicode"), strip_text=True)


def everything(packet: bytes) -> str:
    return ET.canonicalize(packet.decode().replace("\ufeff", ""), strip_text=True, with_comments=True)


def test_a_new_packet() -> None:
    packet, changes = merge(None, keywords([("animal", "dog"), ("rain",)]), PETS)
    assert values(packet, SUBJECT) == ["dog", "rain"]
    assert values(packet, HIERARCHICAL) == ["animal|dog"]
    assert values(packet, TAGS_LIST) == ["animal/dog", "rain"]
    assert changes[0] == KeywordChange("dc:subject", ("dog", "rain"), ())
    assert b'xmlns:dc="http://purl.org/dc/elements/1.1/"' in packet
    assert b"<rdf:Bag>" in packet


@pytest.mark.parametrize("packet", [DARKTABLE, LIGHTROOM], ids=["darktable", "lightroom"])
def test_what_was_there_survives(packet: str) -> None:
    before = packet.encode()
    merged, changes = merge(before, DOG, PETS)
    assert changes
    assert without_ours(merged) == without_ours(before)
    assert values(merged, SUBJECT) == [*values(before, SUBJECT), "dog"]
    assert values(merged, HIERARCHICAL) == [*values(before, HIERARCHICAL), "animal|dog"]
    back, _ = merge(merged, NOTHING, PETS)
    assert everything(back) == everything(before), "taken back, nothing of ours is left"


def test_prefixes_comments_and_instructions_survive() -> None:
    darktable, _ = merge(DARKTABLE.encode(), DOG, PETS)
    assert b"<!-- edited on the train -->" in darktable
    assert b'darktable:multi_name="a &lt; b &amp; &quot;c&quot;&#10;second line"' in darktable
    assert darktable.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<x:xmpmeta ')
    lightroom, _ = merge(LIGHTROOM.encode(), DOG, PETS)
    text = lightroom.decode()
    assert text.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n')
    assert text.rstrip().endswith('<?xpacket end="w"?>')
    assert "<![CDATA[raw & <kept>]]>" in text
    assert 'dc:kept="yes"' in text and "<elements:subject" in text and "dc:subject" not in text


def test_writing_again_changes_nothing() -> None:
    once, _ = merge(DARKTABLE.encode(), DOG, PETS)
    twice, changes = merge(once, DOG, PETS)
    assert changes == ()
    assert twice == once


def test_stale_tags_of_ours_go_and_nobody_elses() -> None:
    with_dog, _ = merge(DARKTABLE.encode(), DOG, PETS)
    with_cat, changes = merge(with_dog, CAT, PETS)
    assert values(with_cat, SUBJECT) == ["holiday", "mine", "cat"]
    assert values(with_cat, HIERARCHICAL) == ["places|Spain", "animal|cat"]
    assert values(with_cat, TAGS_LIST) == ["animal/cat"]
    assert changes[0] == KeywordChange("dc:subject", ("cat",), ("dog",))


def test_a_tag_that_the_user_had_already_is_never_removed() -> None:
    mine = keywords([("mine",)])
    merged, changes = merge(DARKTABLE.encode(), mine, PETS)
    assert values(merged, SUBJECT) == ["holiday", "mine"], "added once"
    assert [change.property for change in changes] == ["digiKam:TagsList"]
    back, _ = merge(merged, NOTHING, PETS)
    assert values(back, SUBJECT) == ["holiday", "mine"]
    assert values(back, TAGS_LIST) == []


def test_a_tag_of_ours_that_the_user_removed_by_hand_comes_back_while_it_holds() -> None:
    merged, _ = merge(DARKTABLE.encode(), DOG, PETS)
    edited = merged.replace(b"<rdf:li>dog</rdf:li>", b"", 1)
    again, changes = merge(edited, DOG, PETS)
    assert values(again, SUBJECT) == ["holiday", "mine", "dog"]
    assert changes == (KeywordChange("dc:subject", ("dog",), ()),)


def test_other_shapes_of_a_keyword_property() -> None:
    start = '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    about = '<r:Description r:about=""'
    for packet in (
        f"{start}{about}><dc:subject>sea</dc:subject></r:Description></r:RDF>",
        f'{start}{about} dc:subject="sea"/></r:RDF>',
        f"{start}{about}><dc:subject><r:Seq><r:li>sea</r:li></r:Seq></dc:subject></r:Description></r:RDF>",
    ):
        merged, _ = merge(packet.encode(), DOG, PETS)
        assert values(merged, SUBJECT) == ["sea", "dog"]
    merged, _ = merge(f"{start}</r:RDF>".encode(), DOG, PETS)
    assert values(merged, SUBJECT) == ["dog"]


def test_characters_that_xml_must_escape() -> None:
    paths = [("R&B",), ("<b>",), ('say "hi"',), ("dog, puppy",), ("犬",), ("]]>",)]
    packet, _ = merge(None, keywords(paths), PETS)
    assert values(packet, SUBJECT) == [path[0] for path in paths]
    assert merge(packet, keywords(paths), PETS)[1] == ()
    assert values(merge(packet, NOTHING, PETS)[0], SUBJECT) == []


def test_utf16_is_read() -> None:
    packet = DARKTABLE.replace("UTF-8", "UTF-16").encode("utf-16")
    merged, _ = merge(packet, DOG, PETS)
    assert values(merged, SUBJECT) == ["holiday", "mine", "dog"]


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<x:xmpmeta xmlns:x="adobe:ns:meta/">&b;</x:xmpmeta>"""
EXTERNAL = """<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><x>&a;</x>"""


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (BOMB, "document type"),
        (EXTERNAL, "document type"),
        ("", "not well-formed"),
        ("hello", "not well-formed"),
        (DARKTABLE[:400], "not well-formed"),
        ("<html><body/></html>", "no rdf:RDF"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "not well-formed"),
    ],
)
def test_what_is_not_xmp(packet: str, words: str) -> None:
    with pytest.raises(XmpError, match=words):
        merge(packet.encode(), DOG, PETS)


def test_keywords() -> None:
    assert keywords([("dog",)]) == Keywords(("dog",), (), ("dog",))
    assert keywords([("a", "b", "c")]) == Keywords(("c",), ("a|b|c",), ("a/b/c",))
    assert keywords([("dog",)], "ai/") == Keywords(("ai/dog",), ("ai|dog",), ("ai/dog",))
    assert keywords([("a", "dog")], "x/ai:") == Keywords(("x/ai:dog",), ("x|ai:a|dog",), ("x/ai:a/dog",))
    assert keywords([("AC/DC",), ("x|y",)]) == Keywords(("AC/DC", "x|y"), (), ("AC-DC", "x|y"))
    assert keywords([("music", "AC/DC"), ("m", "x|y")]).hierarchical_subject == ("music|AC/DC", "m|x-y")
    assert keywords([("a", "dog"), ("b", "dog")]).subject == ("dog",), "once"


def writer(naming: str = "stem", *, dry_run: bool = False) -> SidecarWriter:
    return SidecarWriter("full" if naming == "full" else "stem", IMAGE_EXTENSIONS, dry_run=dry_run)


def test_names(tmp_path: Path) -> None:
    (tmp_path / "a.b.jpg").touch()
    image = str(tmp_path / "a.b.jpg")
    assert writer().write(image, DOG, PETS).path == str(tmp_path / "a.b.xmp")
    assert writer("full").write(image, DOG, PETS).path == str(tmp_path / "a.b.jpg.xmp")
    assert sorted(os.listdir(tmp_path)) == ["a.b.jpg", "a.b.jpg.xmp", "a.b.xmp"], "no temporary file is left"


def test_nothing_to_say_makes_no_sidecar_and_no_change_writes_none(tmp_path: Path) -> None:
    image = str(tmp_path / "a.jpg")
    assert isinstance(writer().write(image, NOTHING, PETS), SidecarUnchanged)
    assert os.listdir(tmp_path) == []
    writer().write(image, DOG, PETS)
    os.utime(tmp_path / "a.xmp", ns=(1, 1))
    assert isinstance(writer().write(image, DOG, PETS), SidecarUnchanged)
    assert (tmp_path / "a.xmp").stat().st_mtime_ns == 1


def test_dry_run_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_text(DARKTABLE)
    result = writer(dry_run=True).write(str(tmp_path / "a.jpg"), DOG, PETS)
    assert isinstance(result, SidecarChanged)
    assert result.changes[0].added == ("dog",)
    assert (tmp_path / "a.xmp").read_text() == DARKTABLE
    assert isinstance(writer(dry_run=True).write(str(tmp_path / "b.jpg"), DOG, PETS), SidecarChanged)
    assert os.listdir(tmp_path) == ["a.xmp"]


def test_two_images_with_one_stem(tmp_path: Path) -> None:
    for name in ("IMG.jpg", "IMG.png", "IMG.txt", "other.png"):
        (tmp_path / name).touch()
    shared = r"IMG\.xmp would be the sidecar of IMG\.jpg and of IMG\.png: name sidecars in full"
    with pytest.raises(SidecarError, match=shared):
        writer().write(str(tmp_path / "IMG.png"), DOG, PETS)
    assert not (tmp_path / "IMG.xmp").exists()
    sidecars = writer()
    sidecars.write(str(tmp_path / "IMG.jpg"), DOG, PETS)
    sidecars.write(str(tmp_path / "other.png"), DOG, PETS)
    assert (tmp_path / "IMG.xmp").exists() and (tmp_path / "other.xmp").exists()
    writer("full").write(str(tmp_path / "IMG.png"), DOG, PETS)
    assert (tmp_path / "IMG.png.xmp").exists()


def test_a_sidecar_that_is_not_xmp_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_text("my notes")
    with pytest.raises(SidecarError, match=r"a\.xmp.*well-formed XML"):
        writer().write(str(tmp_path / "a.jpg"), DOG, PETS)
    assert (tmp_path / "a.xmp").read_text() == "my notes"


def test_a_sidecar_that_is_read_only_is_left_alone(tmp_path: Path) -> None:
    sidecar = tmp_path / "a.xmp"
    sidecar.write_text(DARKTABLE)
    sidecar.chmod(0o444)
    with pytest.raises(SidecarError, match=r"a\.xmp.*read-only"):
        writer().write(str(tmp_path / "a.jpg"), DOG, PETS)
    assert sidecar.read_text() == DARKTABLE


def test_mode_and_link_of_a_sidecar_stay(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.xmp"
    real.write_text(DARKTABLE)
    real.chmod(0o640)
    (tmp_path / "a.xmp").symlink_to(real)
    writer().write(str(tmp_path / "a.jpg"), DOG, PETS)
    assert (tmp_path / "a.xmp").is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "dog" in real.read_text()


def test_a_folder_in_the_place_of_the_sidecar(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").mkdir()
    with pytest.raises(SidecarError, match=r"a\.xmp"):
        writer().write(str(tmp_path / "a.jpg"), DOG, PETS)


SCENES = Owner("scenes")


def test_another_label_set_or_prefix_takes_nothing_away() -> None:
    packet, _ = merge(None, DOG, PETS)
    packet, _ = merge(packet, keywords([("beach",)]), SCENES)
    packet, _ = merge(packet, keywords([("dog",)], "ai/"), Owner("pets", "ai/"))
    assert values(packet, SUBJECT) == ["dog", "beach", "ai/dog"]
    packet, changes = merge(packet, CAT, PETS)
    assert values(packet, SUBJECT) == ["beach", "ai/dog", "cat"]
    assert changes[0] == KeywordChange("dc:subject", ("cat",), ("dog",))
    packet, _ = merge(packet, NOTHING, None)
    assert values(packet, SUBJECT) == [] and is_empty(packet)


def test_a_keyword_of_two_label_sets_stays_until_both_drop_it() -> None:
    packet, _ = merge(None, DOG, PETS)
    packet, changes = merge(packet, DOG, SCENES)
    assert changes == ()
    packet, _ = merge(merge(None, DOG, PETS)[0], keywords([("animal", "dog"), ("sea",)]), SCENES)
    packet, changes = merge(packet, NOTHING, PETS)
    assert values(packet, SUBJECT) == ["dog", "sea"] and changes == ()


def test_labels_without_a_name_are_distinguished_by_their_texts() -> None:
    sets = [LabelSet("labels", tuple(Label(name) for name in names)) for names in ("ab", "ba", "ac")]
    one, same, other = (owner_of(label_set, "x") for label_set in sets)
    assert one == same != other


def test_keywords_that_an_older_version_wrote_are_taken_over() -> None:
    old = merge(None, DOG, PETS)[0].replace(b'["pets", "", "', b"").replace(b'"]', b"")
    assert b"pets" not in old
    packet, _ = merge(old, CAT, SCENES)
    assert values(packet, SUBJECT) == ["cat"]


def in_xmp(inner: str, attributes: str = "") -> bytes:
    namespaces = (
        'xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:x="urn:x"'
    )
    return f'<r:RDF {namespaces}><r:Description r:about=""{attributes}>{inner}</r:Description></r:RDF>'.encode()


BAG = "<r:Bag><r:li>sea</r:li></r:Bag>"


@pytest.mark.parametrize(
    "packet",
    [
        in_xmp('<dc:subject r:parseType="Resource"><x:a>sea</x:a></dc:subject>'),
        in_xmp('<dc:subject r:parseType="Literal"><b>sea</b></dc:subject>'),
        in_xmp('<dc:subject r:resource="urn:sea"/>'),
        in_xmp("<dc:subject><r:Description><r:value>sea</r:value></r:Description></dc:subject>"),
        in_xmp(f"<dc:subject>{BAG}{BAG}</dc:subject>"),
        in_xmp(f"<dc:subject>sea {BAG}</dc:subject>"),
        in_xmp("<dc:subject><r:Bag><x:li>sea</x:li></r:Bag></dc:subject>"),
        in_xmp(f"<dc:subject>{BAG}</dc:subject><dc:subject>{BAG}</dc:subject>"),
        in_xmp(f"<dc:subject>{BAG}</dc:subject>", ' dc:subject="sea"'),
        in_xmp("").replace(b"Description", b"Elsewhere"),
        b"<x>" + in_xmp("") * 2 + b"</x>",
    ],
)
def test_xmp_that_is_not_understood_is_not_changed(packet: bytes) -> None:
    ET.fromstring(packet)
    with pytest.raises(XmpError):
        merge(packet, DOG, PETS)


def test_items_that_are_not_understood_stay_where_they_are() -> None:
    inner = '<dc:subject><r:Bag><r:li r:parseType="Resource"><r:value>sea</r:value></r:li></r:Bag></dc:subject>'
    merged, _ = merge(in_xmp(inner), DOG, PETS)
    back, _ = merge(merged, NOTHING, PETS)
    assert everything(back) == everything(in_xmp(inner))


@pytest.mark.parametrize("bad", ["\ufffe", "\uffff", "\x0b", "\ud800"])
def test_what_xml_cannot_hold_is_never_written(bad: str, tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_text(DARKTABLE)
    with pytest.raises(SidecarError):
        writer().write(str(tmp_path / "a.jpg"), keywords([(f"x{bad}y",)]), PETS)
    assert (tmp_path / "a.xmp").read_text() == DARKTABLE


@pytest.mark.parametrize(
    "packet",
    [
        in_xmp("<x:a>" * 900 + "</x:a>" * 900),
        in_xmp("<x:a/>" * 200_000),
        in_xmp("".join(f'<x:a x:b{i}=""/>' for i in range(60_000))),
        in_xmp("<!-- a -->" * 200_000),
    ],
    ids=["deep", "elements", "attributes", "comments"],
)
def test_documents_beyond_all_measure(packet: bytes) -> None:
    with pytest.raises(XmpError):
        merge(packet, DOG, PETS)


def test_a_sidecar_that_is_huge_or_a_pipe_or_a_link_to_nothing(tmp_path: Path) -> None:
    with open(tmp_path / "a.xmp", "wb") as file:
        file.truncate(200 * 10**9)  # sparse
    os.mkfifo(tmp_path / "b.xmp")
    (tmp_path / "c.xmp").symlink_to(tmp_path / "elsewhere")
    for name in "abc":
        with pytest.raises(SidecarError):
            writer().write(str(tmp_path / f"{name}.jpg"), DOG, PETS)
    assert not (tmp_path / "elsewhere").exists()


def test_a_sidecar_that_we_made_goes_with_the_last_keyword(tmp_path: Path) -> None:
    (tmp_path / "b.xmp").write_text(DARKTABLE)
    for name in ("a", "b"):
        writer().write(str(tmp_path / f"{name}.jpg"), DOG, PETS)
        event = writer().remove(str(tmp_path / f"{name}.jpg"), PETS)
        assert isinstance(event, SidecarChanged) and event.is_removed == (name == "a")
    assert os.listdir(tmp_path) == ["b.xmp"]
    assert everything((tmp_path / "b.xmp").read_bytes()) == everything(DARKTABLE.encode())
    assert isinstance(writer().remove(str(tmp_path / "b.jpg")), SidecarUnchanged)


def test_whoever_drops_a_keyword_last_takes_it_away(tmp_path: Path) -> None:
    image = str(tmp_path / "a.jpg")
    for owner, wanted in ((PETS, DOG), (SCENES, DOG), (SCENES, NOTHING), (PETS, NOTHING)):
        writer().write(image, wanted, owner)
    assert os.listdir(tmp_path) == []
