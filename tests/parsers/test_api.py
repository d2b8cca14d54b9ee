"""All of the parser manager's API: who may do what, and that no request finds a failure."""

from __future__ import annotations

from collections.abc import Callable

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.parsers.conftest import API, GROUP, Parsers
from tests.web.server import TOKEN, Web
from tests.web.test_schema import CHECKS, NEGATIVE

#: Requests of each kind: there are 28 kinds.
EXAMPLES = 6


def test_changing_needs_the_token_and_looking_does_not(parsers: Parsers, start_web: Callable[..., Web]) -> None:
    known = {"Authorization": b"Bearer " + TOKEN.encode()}
    with start_web(**parsers.settings, api_token=TOKEN).client() as client:
        for method, path in (
            ("POST", "task_group/"),
            ("POST", "task_group/cancel_expired_task_group"),
            ("GET", "task_group/cancel_expired_task_group"),
            ("POST", "source/"),
            ("PATCH", "source/1"),
            ("DELETE", "task_group/1"),
        ):
            assert client.request(method, f"{API}/{path}").status_code == 401, path
        assert client.get(f"{API}/source/").status_code == 200
        assert client.post(GROUP, headers=known).status_code == 201


def test_no_request_finds_a_failure_or_an_answer_that_is_not_described(
    parsers: Parsers, start_web: Callable[..., Web]
) -> None:
    parsers.tasks(3)
    web = start_web(**parsers.settings)
    tried: set[str] = set()
    for result in (
        schemathesis.openapi.from_url(f"{web.url}/openapi.json").include(path_regex="^/api/v1").get_all_operations()
    ):
        operation = result.ok()
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
            case.validate_response(case.call(base_url=web.url), checks=CHECKS)

        try_it()
    assert len(tried) == 28
