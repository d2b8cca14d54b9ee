"""openpyxl in its write-only mode."""

from openpyxl import Workbook

from benchmarks.peers import timed
from benchmarks.peers.rows import rows


def export(conninfo: str, query: str, path: str) -> None:
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet()
    sheet.freeze_panes = "A2"
    with rows(conninfo, query) as (names, values):
        sheet.append(names)
        for row in values:
            sheet.append(row)
    workbook.save(path)


if __name__ == "__main__":
    timed(export)
