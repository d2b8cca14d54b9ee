"""CSV: what is quoted, what is guarded, what the writer puts into a part file."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csvfile import BUFFER, CsvDialect, CsvWriter, csv_header, csv_quoting, safe_formula
from dwh import Column
from errors import StorageError


class Part:
    """A part file in memory; full when `room` is used up."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.data = bytearray()
        self.room = room
        self.calls = 0

    def write(self, data: bytes | memoryview) -> int:
        self.calls += 1
        if len(self.data) + len(data) > self.room:
            raise StorageError("no space left")
        self.data += data
        return len(data)


def columns(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "text", "text") for name in names)


def test_the_header_has_the_mark_and_quotes_only_where_needed() -> None:
    header = csv_header(columns("Ст. Отправления", 'с "кавычкой"', "a;b", "№, %", "в две\nстроки"), CsvDialect())
    assert header.decode() == '\ufeffСт. Отправления;"с ""кавычкой""";"a;b";№, %;"в две\nстроки"\n'


def test_the_header_may_have_no_mark_and_tabs() -> None:
    assert csv_header(columns("a;b", "c\td"), CsvDialect("\t", bom=False)) == b'a;b\t"c\td"\n'


def test_a_name_that_looks_like_a_formula_is_guarded_as_any_text() -> None:
    assert csv_header(columns("=1+1", "-"), CsvDialect(bom=False, safe_formulas=True)) == b"'=1+1;'-\n"
    assert csv_header(columns("=1+1", "-"), CsvDialect(bom=False, safe_formulas=False)) == b"=1+1;-\n"


@pytest.mark.parametrize("text", ["=A1", "+7 900", "-1", "@x", "\tx", "\rx"])
def test_what_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(text: str) -> None:
    assert safe_formula(text) == "'" + text


@pytest.mark.parametrize("text", ["", "A=1", " =1", "'=1", "\n=1", "1-2", "Чита"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert safe_formula(text) == text


@given(st.lists(st.text(), min_size=2, max_size=5), st.sampled_from(";,\t|"))
def test_a_quoted_row_is_read_back_by_the_csv_module(row: list[str], delimiter: str) -> None:
    line = delimiter.join(map(csv_quoting(delimiter), row)) + "\n"
    assert list(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter)) == [row]


def test_empty_text_is_told_from_null_by_quotes() -> None:
    assert csv_quoting(";")("") == '""'


def test_rows_go_to_the_part_in_large_pieces_and_all_of_them_at_the_end_of_a_page() -> None:
    part = Part()
    writer = CsvWriter(part, b"h\n")
    row = b"x" * 99 + b"\n"
    for _ in range(BUFFER // 50):
        writer.write(row)
    assert part.calls <= 3
    assert writer.end_page() == {}
    assert bytes(part.data) == b"h\n" + row * (BUFFER // 50)
    assert writer.seconds["write"] > 0
    writer.finish()


def test_a_successor_goes_on_without_a_second_header() -> None:
    part = Part()
    first = CsvWriter(part, b"h\n")
    first.write(b"1\n")
    state = first.end_page()
    first.abort()
    second = CsvWriter(part, b"h\n", state)
    second.write(b"2\n")
    second.finish()
    assert bytes(part.data) == b"h\n1\n2\n"


def test_what_is_aborted_does_not_reach_the_part() -> None:
    part = Part()
    writer = CsvWriter(part, b"h\n")
    writer.write(b"1\n")
    writer.abort()
    assert not part.data


def test_a_full_disk_is_told_and_can_still_be_aborted() -> None:
    part = Part(room=10)
    writer = CsvWriter(part, b"h\n")
    writer.write(b"x" * 100)
    with pytest.raises(StorageError):
        writer.end_page()
    writer.abort()
    assert len(part.data) <= 10


def test_a_row_larger_than_the_buffer_arrives_whole() -> None:
    part = Part()
    writer = CsvWriter(part, b"")
    writer.write(b"a\n")
    writer.write(b"x" * (3 * BUFFER) + b"\n")
    writer.finish()
    assert bytes(part.data) == b"a\n" + b"x" * (3 * BUFFER) + b"\n"
