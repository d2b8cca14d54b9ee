"""What the tests of the store share: the server, a bucket of one's own, exports that end in it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import object_store
from object_store import ObjectStore, open_store
from settings import Settings
from tests.daemons import make_settings
from tests.exporting import PAGE, Bench
from tests.store.server import Bucket, S3Server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    started = S3Server()
    yield started
    started.stop()


@pytest.fixture
def bucket(server: S3Server) -> Iterator[Bucket]:
    made = Bucket(server, f"tksva-{os.getpid()}-{next(_numbers)}")
    server.requests.clear()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests may be slower than any store."""
    monkeypatch.setattr(object_store, "CALL_SECONDS", 30.0)


@pytest.fixture
def settings(bucket: Bucket, tmp_path: Path) -> Settings:
    return make_settings("", tmp_path, **bucket.settings)


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    opened = open_store(settings)
    assert opened is not None
    return opened


@pytest.fixture
def bench(database: str, tmp_path: Path, bucket: Bucket) -> Iterator[Bench]:
    """Exports that end in the bucket."""
    made = Bench(database, tmp_path)
    made.settings = make_settings(database, tmp_path, chunk_size=PAGE, **bucket.settings)
    yield made
    made.warehouse.close()
    made.database.close()
