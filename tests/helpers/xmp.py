"""Reads XMP with another parser than the one under test."""

import xml.etree.ElementTree as ET

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
SUBJECT = "{http://purl.org/dc/elements/1.1/}subject"
HIERARCHICAL = "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject"
TAGS_LIST = "{http://www.digikam.org/ns/1.0/}TagsList"
LIGHTROOM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000, 0000/00/00-00:00:00        ">
 <r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <r:Description r:about="" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmlns:dc="urn:somebody:else"
    xmlns:elements="http://purl.org/dc/elements/1.1/" crs:Version="15.4" crs:Exposure2012="+0.35" dc:kept="yes">
   <elements:title>
    <r:Alt>
     <r:li xml:lang="x-default">A &lt;title&gt;  with  spaces</r:li>
    </r:Alt>
   </elements:title>
   <crs:ToneCurvePV2012><r:Seq><r:li>0, 0</r:li><r:li>255, 255</r:li></r:Seq></crs:ToneCurvePV2012>
   <elements:description><![CDATA[raw & <kept>]]></elements:description>
  </r:Description>
  <r:Description r:about="" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmpMM:InstanceID="xmp.iid:1">
   <elements:subject xmlns:elements="http://purl.org/dc/elements/1.1/"><r:Bag><r:li>sea</r:li></r:Bag></elements:subject>
  </r:Description>
 </r:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def values(packet: bytes, name: str) -> list[str]:
    """Read a property with another parser than the one under test."""
    found = ET.fromstring(packet).findall(f".//{name}")
    assert len(found) <= 1
    return [item.text or "" for element in found for item in element.iter(f"{RDF}li")]
