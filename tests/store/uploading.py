"""Exports whose file ends in the bucket."""

from __future__ import annotations

from typing import Any

import pytest

import jobs
from exports import export
from tests.exporting import EXTRACT, Bench
from tests.store.server import Bucket

NAME = "отчёт (1) [май].csv"


@pytest.fixture
def whole(bench: Bench, bucket: Bucket) -> bytes:
    """What the file holds when nobody disturbs its export."""
    local = bench.settings
    bench.settings = local.model_copy(update={"files_url": None})
    content = bench.whole(NAME)
    bench.settings = local
    bucket.server.requests.clear()
    return content


def run(bench: Bench, job: jobs.Job) -> None:
    export(bench.task(job), EXTRACT)


def counting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Make the warehouse note every page that it is asked for."""
    asked: list[object] = []
    page = bench.warehouse.csv_page

    def csv_page(*words: Any) -> Any:
        asked.append(words[2])
        return page(*words)

    monkeypatch.setattr(bench.warehouse, "csv_page", csv_page)
    return asked
