"""The fixed XML of a workbook: well formed, in the order of ECMA-376, and consistent in itself."""

from xml.etree import ElementTree

import pytest

from xlsx_parts import (
    BOLD,
    DATE,
    DATETIME,
    FIRST_PARTS,
    INTEGER,
    TIME,
    column_letters,
    last_parts,
    sheet_head,
    sheet_tail,
)

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def parsed(xml: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 -- our own


@pytest.mark.parametrize(
    ("number", "letters"), [(1, "A"), (26, "Z"), (27, "AA"), (52, "AZ"), (702, "ZZ"), (703, "AAA"), (16_384, "XFD")]
)
def test_a_column_has_the_letters_that_excel_gives_it(number: int, letters: str) -> None:
    assert column_letters(number) == letters


def test_every_format_of_a_cell_is_where_its_index_says() -> None:
    styles = parsed(dict(FIRST_PARTS)["xl/styles.xml"])
    codes = {item.get("numFmtId"): item.get("formatCode") for item in styles.iter(f"{MAIN}numFmt")}
    formats = [item.get("numFmtId", "") for item in styles.findall(f"{MAIN}cellXfs/{MAIN}xf")]
    assert codes[formats[DATE]] == "dd.mm.yyyy"
    assert codes[formats[DATETIME]] == "dd.mm.yyyy hh:mm:ss"
    assert codes[formats[TIME]] == "hh:mm:ss"
    assert formats[INTEGER] == "1"
    assert styles.findall(f"{MAIN}cellXfs/{MAIN}xf")[BOLD].get("fontId") == "1"
    for group in styles:
        assert group.get("count") == str(len(group))


def test_the_parts_of_a_sheet_stand_in_the_order_of_the_standard() -> None:
    sheet = parsed(sheet_head(1, [8, 60]) + sheet_tail(2, 1))
    order = ["sheetViews", "sheetFormatPr", "cols", "sheetData", "autoFilter", "ignoredErrors"]
    assert [element.tag.removeprefix(MAIN) for element in sheet] == order
    assert [(column.get("min"), column.get("width")) for column in sheet.iter(f"{MAIN}col")] == [
        ("1", "8"),
        ("2", "60"),
    ]


def test_only_the_first_sheet_is_selected() -> None:
    assert b"tabSelected" in sheet_head(1, [8])
    assert b"tabSelected" not in sheet_head(2, [8])


def test_the_workbook_links_every_sheet_and_the_styles() -> None:
    parts = dict(last_parts(3))
    sheets = list(parsed(parts["xl/workbook.xml"]).iter(f"{MAIN}sheet"))
    links = {link.get("Id"): link.get("Target") for link in parsed(parts["xl/_rels/workbook.xml.rels"])}
    assert [sheet.get("name") for sheet in sheets] == ["Лист1", "Лист2", "Лист3"]
    assert [links.pop(sheet.get(LINK)) for sheet in sheets] == [f"worksheets/sheet{n}.xml" for n in (1, 2, 3)]
    assert list(links.values()) == ["styles.xml"]
