"""XlsxWriter in constant memory: cells row by row, dates by the workbook's default format."""

import xlsxwriter

from benchmarks.peers import timed
from benchmarks.peers.rows import rows


def export(conninfo: str, query: str, path: str) -> None:
    options = {"constant_memory": True, "default_date_format": "dd.mm.yyyy hh:mm:ss"}
    with rows(conninfo, query) as (names, values), xlsxwriter.Workbook(path, options) as workbook:
        sheet = workbook.add_worksheet()
        sheet.freeze_panes(1, 0)
        sheet.write_row(0, 0, names, workbook.add_format({"bold": True}))
        for number, row in enumerate(values, 1):
            sheet.write_row(number, 0, row)


if __name__ == "__main__":
    timed(export)
