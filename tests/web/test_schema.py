"""The API against its own description: whatever is sent, no failure of ours and no answer that is not described."""

from __future__ import annotations

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import Queries
from tests.web.server import Web

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 40
JOBS = """
INSERT INTO tksva_q.job (form, user_id, file_name, params, state, error, finished_at)
SELECT 'f', 1, 'a.csv', '{"a": 1}', (ARRAY['done', 'failed', 'cancelled'])[g % 3 + 1], 'нет', now()
FROM generate_series(1, 30) g
"""


def test_no_request_finds_a_failure_or_an_answer_that_is_not_described(web: Web, sql: Queries) -> None:
    sql(JOBS)
    schema = schemathesis.openapi.from_url(f"{web.url}/openapi.json")
    tried: set[str] = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == "/api/events":  # a stream without end
            continue
        tried.add(f"{operation.method.upper()} {operation.path}")

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=NEGATIVE)))
        def try_it(case: schemathesis.Case) -> None:
            response = case.call(base_url=web.url)
            # 503: no queue runs here, and health says so.
            excluded = [not_a_server_error] if response.status_code == 503 else []
            case.validate_response(response, checks=[check for check in CHECKS if check not in excluded])

        try_it()
    assert len(tried) == 10


NEGATIVE = schemathesis.GenerationMode.NEGATIVE


def test_the_descriptions_own_examples_are_answered(web: Web) -> None:
    with httpx.Client(base_url=web.url, trust_env=False) as client:
        spec = client.get("/openapi.json").json()
        [example] = spec["components"]["schemas"]["NewJob"]["examples"]
        assert client.post("/api/jobs", json=example).status_code == 201
