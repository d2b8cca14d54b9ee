"""What the pages of a long export cost, the first ones and the last ones."""

import statistics

from benchmarks.bench import Bench
from benchmarks.csv_job import whole_job
from benchmarks.report import Section, seconds, times

#: Pages at either end whose median counts.
ENDS = 5


def measure(bench: Bench) -> Section:
    """Prepare one file again and again; compare the median of its first pages with that of its last ones."""
    rows, size = bench.plan.page_rows, bench.plan.chunk_size
    bench.warehouse.use(rows)
    section = Section(f"Pages: {rows:,} rows, {size:,} a page", ("run", "first pages", "last pages", "last × first"))
    ratios = []
    with bench.daemon(bench.warehouse.conninfo, chunk_size=size) as daemon:
        for run in range(bench.plan.runs):
            whole_job(daemon, "pages.csv")
            took = [
                row[0]
                for row in daemon.query(
                    "SELECT (seconds ->> 'page')::float8 FROM tksva_q.page"
                    " WHERE job_id = (SELECT max(job_id) FROM tksva_q.page) AND rows = %s ORDER BY page",
                    size,
                )
            ]
            first, last = statistics.median(took[:ENDS]), statistics.median(took[-ENDS:])
            ratios.append(last / first)
            section.rows.append((str(run + 1), seconds(first), seconds(last), times(last / first)))
    section.most("last pages × first pages, median of the runs", statistics.median(ratios), 1.15)
    return section
