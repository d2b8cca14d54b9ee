"""The API against its own description: whatever is sent, no failure of ours and no answer that is not described."""

from __future__ import annotations

import pytest

from tests.database import Queries
from tests.described import try_all
from tests.web.server import Web

#: Requests of each kind.
EXAMPLES = 40
JOBS = """
INSERT INTO tksva_q.job (form, user_id, file_name, params, state, error, finished_at)
SELECT 'f', 1, 'a.csv', '{"a": 1}', (ARRAY['done', 'failed', 'cancelled'])[g % 3 + 1], 'нет', now()
FROM generate_series(1, 30) g
"""


@pytest.mark.timeout(600)  # many requests, on a busy machine
def test_no_request_finds_a_failure_or_an_answer_that_is_not_described(web: Web, sql: Queries) -> None:
    sql(JOBS)
    # Not the stream, which has no end. 503: no queue runs here, and health says so.
    assert len(try_all(web.url, "^(?!/api/events$)", EXAMPLES, excused=[503])) == 10


def test_the_descriptions_own_examples_are_answered(web: Web) -> None:
    with web.client() as client:
        spec = client.get("/openapi.json").json()
        [example] = spec["components"]["schemas"]["NewJob"]["examples"]
        assert client.post("/api/jobs", json=example).status_code == 201
