"""rustpy-xlsxwriter: rows as dictionaries from a generator, which it streams."""

from rustpy_xlsxwriter import FastExcel

from benchmarks.peers import timed
from benchmarks.peers.rows import rows


def export(conninfo: str, query: str, path: str) -> None:
    with rows(conninfo, query) as (names, values):
        records = (dict(zip(names, row, strict=True)) for row in values)
        FastExcel(path).freeze(row=1).sheet("Лист1", records).save()


if __name__ == "__main__":
    timed(export)
