"""All of the parser manager's API: who may do what, and that no request finds a failure."""

from __future__ import annotations

from collections.abc import Callable

from tests.described import try_all
from tests.parsers.conftest import API, GROUP, Parsers
from tests.web.server import TOKEN, Web

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
    assert len(try_all(start_web(**parsers.settings).url, "^/api/v1", EXAMPLES)) == 28
