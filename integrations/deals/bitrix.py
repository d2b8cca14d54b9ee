"""Bitrix24's REST over HTTP: each request in its turn, tried again with growing pauses, its address a secret."""

import functools
import json
import logging
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import tenacity

from db import one_line
from errors import UserError
from integrations.deals.options import DealSettings
from integrations.deals.turns import turn
from logs import hide, redact
from tasks import Task

#: Characters of an answer that are kept as the reason, and bytes of one that are read.
LONGEST_ANSWER, LARGEST_ANSWER = 500, 4 * 2**20
#: Letters from which on a part of the webhook's path is a secret: the rest is `rest` and a number.
SHORTEST_SECRET = 6
#: Seconds between two looks whether the worker was asked to stop.
LOOK_SECONDS = 0.1
#: What a Bitrix24 does not answer with, but to a request of a moment too soon.
TOO_MANY, LIMIT = 429, "QUERY_LIMIT_EXCEEDED"
BROKEN = 500

Body = dict[str, Any]


class BitrixError(UserError):
    """Bitrix24 refused: the deal has failed with this reason."""

    accepted = False  # whether it may have done what it was asked for, all the same


class PassingError(BitrixError):
    """It could not answer, in a way that may pass."""

    accepted = True


class UnreachableError(PassingError):
    """It was not even asked."""

    accepted = False


class TooManyError(PassingError):
    """It has had too many requests, and has put this one aside."""

    accepted = False


def _nothing() -> None:
    pass


class Bitrix:
    """The webhook, for the time of one task.

    Raises:
        UserError: there is no webhook.
    """

    def __init__(self, task: Task, options: DealSettings) -> None:
        if options.webhook_carex is None:
            raise UserError("WEBHOOK_CAREX: не задан; пример: WEBHOOK_CAREX=https://example.bitrix24.ru/rest/1/…/")
        self._task = task
        self._options = options
        self._url = options.webhook_carex.get_secret_value().rstrip("/") + "/"
        _keep_secret(self._url)

    def call(self, method: str, body: Callable[[], Body], refused: Callable[[], None] = _nothing) -> Any:
        """Return the `result` of a method.

        Args:
            method: of REST.
            body: gives what to send, when it is this request's turn.
            refused: is called each time that Bitrix24 has certainly not accepted it.

        Raises:
            BitrixError: the last answer's text, or what came instead of one.
            Interrupted: the worker was asked to stop.
        """
        retrying = self._retrying(tenacity.retry_if_exception_type(PassingError))
        return retrying(self._call, method, body, refused)

    def batch(
        self, method: str, bodies: Callable[[], dict[int, Body]], refused: Callable[[], None] = _nothing
    ) -> dict[int, Any]:
        """Call a method many times in one request, which Bitrix24 counts as one; return the results that it has given.

        The arguments are those of `call`, with a body for each number. A call that fails takes no other with it, and
        has no result: it was not accepted. A request that fails as a whole is not tried again,
        unless it came too soon.
        """
        sent: dict[int, Body] = {}

        def packed() -> Body | None:
            sent.clear()  # of an earlier try: not all of it may still be wanted
            sent.update(bodies())
            commands = {f"n{number}": f"{method}?{urlencode(_flat(body))}" for number, body in sent.items()}
            return {"halt": 0, "cmd": commands} if commands else None

        result = self._retrying(tenacity.retry_if_exception_type(TooManyError))(self._call, "batch", packed, refused)
        if not sent:
            return {}
        if not isinstance(result, dict) or "result" not in result:
            self._count(1)
            raise PassingError("batch: в ответе нет результатов")
        # PHP writes an empty object as a list.
        results, errors = (result.get(name) or {} for name in ("result", "result_error"))
        answered = {number: results[key] for number in sent if (key := f"n{number}") in results and key not in errors}
        self._count(len(sent) - len(answered))
        return answered

    def owner(self, contact: Any) -> str | None:
        """Return whose a contact is, empty for nobody's; None where this is no contact."""
        if contact and not isinstance(contact, dict):
            return None
        owner = str((contact or {}).get("ASSIGNED_BY_ID") or "")
        return "" if owner in {"0", self._options.tech_account} else owner

    def _retrying(self, on: tenacity.retry_base) -> tenacity.Retrying:
        return tenacity.Retrying(
            retry=on,
            stop=tenacity.stop_after_attempt(self._options.bitrix_attempts),
            wait=tenacity.wait_exponential(multiplier=self._options.bitrix_pause, max=60)
            + tenacity.wait_random(0, 0.1),
            sleep=self._rest,
            reraise=True,
        )

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._task.may_go_on()
            time.sleep(min(left, LOOK_SECONDS))

    def _call(self, method: str, body: Callable[[], Body | None], refused: Callable[[], None]) -> Any:
        try:
            with turn(self._task, self._options.bitrix_rate):
                self._task.may_go_on()
                wanted = body()
                return None if wanted is None else self._post(method, wanted)
        except BitrixError as error:
            self._count(1)
            if not error.accepted:
                refused()
            raise

    def _count(self, errors: int) -> None:
        if errors:
            with self._task.database.statement() as cursor:
                cursor.execute("UPDATE tksva_q.deal_counter SET number = number + %s WHERE name = 'bitrix'", (errors,))

    def _post(self, method: str, body: Body) -> Any:
        try:
            status, data = self._ask(method, body)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            unreachable = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.InvalidURL)
            kind = UnreachableError if unreachable else PassingError
            raise kind(redact(f"{method}: {type(error).__name__}: {one_line(error)}")) from None
        text = data.decode(errors="replace")
        reason = f"{method}: {status} " + redact(" ".join(text.split())).replace("\0", "")[:LONGEST_ANSWER]
        content = _parsed(text)
        if status == TOO_MANY or content.get("error") == LIMIT:
            raise TooManyError(reason)
        if status >= BROKEN or not content:
            raise PassingError(reason)
        if not 200 <= status < 300 or "result" not in content:  # noqa: PLR2004
            raise BitrixError(reason)
        return content["result"]

    def _ask(self, method: str, body: Body) -> tuple[int, bytes]:
        """Return status and body of the answer, which has one time limit from its beginning to its end."""
        seconds = self._options.bitrix_timeout
        until = time.monotonic() + seconds
        data = b""
        with (
            httpx.Client(verify=_tls(), timeout=seconds, trust_env=False) as client,
            client.stream("POST", self._url + method, json=body) as answer,
        ):
            for piece in answer.iter_bytes():
                data += piece
                if time.monotonic() > until or len(data) > LARGEST_ANSWER:
                    raise httpx.ReadTimeout("the answer does not come to its end")
        return answer.status_code, data


def _parsed(text: str) -> Body:
    """Return the object that an answer is, an empty one for half of it and for anything else."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _keep_secret(url: str) -> None:
    """Let nobody write the webhook's path, nor a part of it that may be its secret, however it is spelled."""
    path = urlsplit(url).path
    parts = [part for part in path.split("/") if len(part) >= SHORTEST_SECRET]
    hide(path, path.strip("/"), *parts)
    for name in ("httpx", "httpcore"):  # they log the address, in pieces
        logging.getLogger(name).setLevel(logging.WARNING)


def _flat(body: Body, name: str = "") -> dict[str, str]:
    """Return a body as the fields of a query, as PHP reads them: `fields[ASSIGNED_BY_ID]`."""
    found: dict[str, str] = {}
    for key, value in body.items():
        whole = f"{name}[{key}]" if name else key
        found |= _flat(value, whole) if isinstance(value, dict) else {whole: str(value)}
    return found
