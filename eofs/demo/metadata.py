"""The small files of a SAFE archive: metadata, reports, masks, a page. Short, well-formed, true to the title."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eofs.demo.scene import Scene

_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_PSD = "https://psd-14.sentinel2.eo.esa.int/PSD"
_TYPES = {
    "jp2": "application/octet-stream",
    "html": "text/html",
    "xsd": "text/xml",
    "xml": "text/xml",
    "gml": "text/xml",
}
_REPORTS = ("FORMAT_CORRECTNESS", "GENERAL_QUALITY", "GEOMETRIC_QUALITY", "SENSOR_QUALITY")
_MASKS = ("DEFECT", "DETFOO", "NODATA", "SATURA", "TECQUA")


def documents(scene: Scene, bands: Mapping[str, int]) -> dict[str, str]:
    """Return the text files of a product by their path below the SAFE directory, the manifest excepted."""
    strip, tile = f"DATASTRIP/{scene.datastrip}", f"GRANULE/{scene.granule}"
    texts = {
        "INSPIRE.xml": _inspire(scene),
        "MTD_MSIL1C.xml": _product(scene, bands),
        "HTML/UserProduct_index.html": _page(scene),
        "rep_info/S2_User_Product_Level-1C_Metadata.xsd": _schema("Level-1C_User_Product"),
        f"{strip}/MTD_DS.xml": _datastrip(scene, bands),
        f"{tile}/MTD_TL.xml": _tile(scene, bands),
        f"{tile}/QI_DATA/MSK_CLOUDS_B00.gml": _mask("CLOUDS", "B00"),
    }
    for report in (*_REPORTS, "RADIOMETRIC_QUALITY"):
        texts[f"{strip}/QI_DATA/{report}.xml"] = _report(scene, report, scene.datastrip)
    for report in _REPORTS:
        texts[f"{tile}/QI_DATA/{report}.xml"] = _report(scene, report, scene.granule)
    for mask in _MASKS:
        for band in _spectral(bands):
            texts[f"{tile}/QI_DATA/MSK_{mask}_{band}.gml"] = _mask(mask, band)
    return texts


def manifest(scene: Scene, files: Mapping[str, tuple[int, str]]) -> str:
    """Return ``manifest.safe``, which lists `files`: size in bytes and MD5 by path below the SAFE directory."""
    listed = "\n".join(
        f'    <dataObject ID="file{number:03d}"><byteStream mimeType="{_mime(name)}" size="{size}">'
        f'<fileLocation href={quoteattr("./" + name)} locatorType="URL"/>'
        f'<checksum checksumName="MD5">{md5}</checksum></byteStream></dataObject>'
        for number, (name, (size, md5)) in enumerate(files.items(), start=1)
    )
    return f"""{_XML}<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" version="esa/safe/sentinel/1.1/sentinel-2/msi">
  <informationPackageMap>
    <xfdu:contentUnit textInfo="SENTINEL-2 MSI Level-1C User Product" unitType="Product_Level-1C"/>
  </informationPackageMap>
  <metadataSection>
    <metadataObject ID="acquisitionPeriod"><metadataWrap><xmlData>
      <startTime>{_iso(scene.sensed)}</startTime><title>{escape(scene.title)}</title>
    </xmlData></metadataWrap></metadataObject>
  </metadataSection>
  <dataObjectSection>
{listed}
  </dataObjectSection>
</xfdu:XFDU>
"""


def _mime(name: str) -> str:
    return _TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def _product(scene: Scene, bands: Mapping[str, int]) -> str:
    images = "\n".join(f"          <IMAGE_FILE>{scene.images}{band}</IMAGE_FILE>" for band in bands)
    return f"""{_XML}<n1:Level-1C_User_Product xmlns:n1="{_PSD}/User_Product_Level-1C.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{_iso(scene.sensed)}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{_iso(scene.sensed)}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{escape(scene.root)}</PRODUCT_URI>
      <PRODUCT_TITLE>{escape(scene.title)}</PRODUCT_TITLE>
      <PROCESSING_LEVEL>Level-1C</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI1C</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{scene.baseline[:2]}.{scene.baseline[2:]}</PROCESSING_BASELINE>
      <GENERATION_TIME>{_iso(scene.produced)}</GENERATION_TIME>
      <Datatake>
        <SPACECRAFT_NAME>Sentinel-{scene.mission[1:]}</SPACECRAFT_NAME>
        <DATATAKE_SENSING_START>{_iso(scene.sensed)}</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>{int(scene.relative_orbit)}</SENSING_ORBIT_NUMBER>
        <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
      </Datatake>
      <Product_Organisation><Granule_List>
        <Granule granuleIdentifier="{scene.granule}" datastripIdentifier="{scene.datastrip}" imageFormat="JPEG2000">
{images}
        </Granule>
      </Granule_List></Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Spectral_Information_List>
{_band_list(bands)}
      </Spectral_Information_List>
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-1C_User_Product>
"""


def _inspire(scene: Scene) -> str:
    return f"""{_XML}<gmd:MD_Metadata xmlns:gmd="http://www.isotc211.org/2005/gmd" xmlns:gco="http://www.isotc211.org/2005/gco">
  <gmd:fileIdentifier><gco:CharacterString>{escape(scene.root)}</gco:CharacterString></gmd:fileIdentifier>
  <gmd:dateStamp><gco:DateTime>{_iso(scene.produced)}</gco:DateTime></gmd:dateStamp>
</gmd:MD_Metadata>
"""


def _page(scene: Scene) -> str:
    title = escape(scene.title)
    return f"""<html>
  <head><title>{title}</title></head>
  <body><h1>{title}</h1><p>Sensed {_iso(scene.sensed)}. <a href="../manifest.safe">manifest.safe</a></p></body>
</html>
"""


def _schema(root: str) -> str:
    return f"""{_XML}<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" elementFormDefault="unqualified">
  <xs:element name="{root}" type="xs:anyType"/>
</xs:schema>
"""


def _datastrip(scene: Scene, bands: Mapping[str, int]) -> str:
    return f"""{_XML}<n1:Level-1C_DataStrip_ID xmlns:n1="{_PSD}/S2_PDI_Level-1C_Datastrip_Metadata.xsd">
  <DATASTRIP_ID>{scene.datastrip}</DATASTRIP_ID>
  <DATASTRIP_SENSING_START>{_iso(scene.begun)}</DATASTRIP_SENSING_START>
  <PRODUCT_TITLE>{escape(scene.title)}</PRODUCT_TITLE>
  <Spectral_Information_List>
{_band_list(bands)}
  </Spectral_Information_List>
</n1:Level-1C_DataStrip_ID>
"""


def _tile(scene: Scene, bands: Mapping[str, int]) -> str:
    sizes = "\n".join(
        f'    <Size resolution="{metres}"><NROWS>{109800 // metres}</NROWS><NCOLS>{109800 // metres}</NCOLS></Size>'
        for metres in sorted(set(bands.values()))
    )
    return f"""{_XML}<n1:Level-1C_Tile_ID xmlns:n1="{_PSD}/S2_PDI_Level-1C_Tile_Metadata.xsd">
  <TILE_ID>{scene.granule}</TILE_ID>
  <DATASTRIP_ID>{scene.datastrip}</DATASTRIP_ID>
  <SENSING_TIME>{_iso(scene.begun)}</SENSING_TIME>
  <PRODUCT_TITLE>{escape(scene.title)}</PRODUCT_TITLE>
  <Tile_Geocoding>
{sizes}
  </Tile_Geocoding>
  <Spectral_Information_List>
{_band_list(bands)}
  </Spectral_Information_List>
</n1:Level-1C_Tile_ID>
"""


def _report(scene: Scene, name: str, item: str) -> str:
    return f"""{_XML}<Earth_Explorer_File>
  <Fixed_Header><File_Name>{name}</File_Name><Creation_Date>{_iso(scene.produced)}</Creation_Date></Fixed_Header>
  <Data_Block><report globalStatus="PASSED" item="{item}"><title>{escape(scene.title)}</title></report></Data_Block>
</Earth_Explorer_File>
"""


def _mask(kind: str, band: str) -> str:
    return f"""{_XML}<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" xmlns:gml="http://www.opengis.net/gml/3.2"
          gml:id="{kind}_{band}">
  <gml:name>MSK_{kind}_{band}</gml:name>
  <eop:maskMembers/>
</eop:Mask>
"""


def _band_list(bands: Mapping[str, int]) -> str:
    return "\n".join(
        f'    <Spectral_Information bandId="{number}" physicalBand="{_physical(band)}">'
        f"<RESOLUTION>{bands[band]}</RESOLUTION></Spectral_Information>"
        for number, band in enumerate(_spectral(bands))
    )


def _spectral(bands: Iterable[str]) -> list[str]:
    return [band for band in bands if band != "TCI"]


def _physical(band: str) -> str:
    """Return the band's name as the metadata write it: ``B1``, ``B8A``."""
    return f"B{band[1:].lstrip('0')}"


def _iso(stamp: str) -> str:
    """Return ``20201229T110451`` as ``2020-12-29T11:04:51.024Z``; the milliseconds are those of PEPS."""
    day, clock = stamp.split("T")
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}.024Z"
