"""An API against its own description: whatever is sent, no failure of ours and no answer that is not described."""

from __future__ import annotations

from collections.abc import Collection

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

DESCRIBED = [status_code_conformance, content_type_conformance, response_schema_conformance]
NEGATIVE = schemathesis.GenerationMode.NEGATIVE


def try_all(url: str, paths: str, examples: int, excused: Collection[int] = ()) -> set[str]:
    """Send requests of every kind, sensible and not, and check the answers.

    Args:
        url: of a web process.
        paths: regular expression of the paths that are tried.
        examples: requests of each kind.
        excused: statuses from 500 on that are no failure here.

    Returns:
        The kinds that were tried, as `GET /path`.
    """
    tried: set[str] = set()
    for result in schemathesis.openapi.from_url(f"{url}/openapi.json").include(path_regex=paths).get_all_operations():
        operation = result.ok()
        tried.add(f"{operation.method.upper()} {operation.path}")

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=NEGATIVE)))
        def try_it(case: schemathesis.Case) -> None:
            response = case.call(base_url=url)
            checks = DESCRIBED if response.status_code in excused else [not_a_server_error, *DESCRIBED]
            case.validate_response(response, checks=checks)

        try_it()
    return tried
