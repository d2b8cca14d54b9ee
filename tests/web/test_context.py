"""What the handlers of requests share, and who gets it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tests.web.inside import Inside
from tests.web.server import TOKEN
from web.context import Authorized, Context, Open

BEARER = {"Authorization": f"Bearer {TOKEN}".encode()}


@pytest.fixture
def start(start_inside: Callable[..., Inside]) -> Callable[..., Inside]:
    """Start applications with a door for everybody and one for whoever knows the token."""

    def begin(**settings: object) -> Inside:
        inside = start_inside(**settings)

        async def everybody(context: Open) -> str:
            return str(context is inside.context)

        async def known(context: Authorized) -> str:
            return str(context is inside.context)

        inside.app.add_api_route("/everybody", everybody, methods=["GET", "POST"])
        inside.app.add_api_route("/known", known, methods=["GET", "POST"])
        return inside

    return begin


def test_whoever_may_look_gets_the_applications_own_context(start: Callable[..., Inside]) -> None:
    assert start(api_token=TOKEN).get("/everybody").json() == "True"


def test_whoever_knows_the_token_gets_it_and_nobody_else_does(start: Callable[..., Inside]) -> None:
    inside = start(api_token=TOKEN)
    for method in ("GET", "POST"):
        assert inside.request(method, "/known").status_code == 401
        assert inside.request(method, "/known", headers={"Authorization": "Bearer guess"}).status_code == 401
        assert inside.request(method, "/known", headers=BEARER).json() == "True"


def test_without_a_token_everybody_on_this_machine_is_known(start: Callable[..., Inside]) -> None:
    inside = start()
    assert inside.post("/known").json() == "True"
    assert inside.post("/known", headers={"Origin": "http://evil.example"}).status_code == 403


def test_two_applications_share_nothing(start: Callable[..., Inside]) -> None:
    first, second = start(), start()
    shared = [
        field.name
        for field in dataclasses.fields(Context)
        if getattr(first.context, field.name) is getattr(second.context, field.name)
    ]
    assert shared == ["workloads", "broker"]  # nothing: () and None


def test_no_handler_can_put_anything_else_in_its_place(inside: Inside) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        inside.context.workloads = ()  # type: ignore[misc]
