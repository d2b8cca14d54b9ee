"""Bitrix24's REST over HTTP: one call at a time in its turn, tried again with growing pauses, its address a secret."""

import logging
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import tenacity

from db import Database, one_line
from errors import UserError
from integrations.deals.options import DealSettings
from logs import hide, redact
from tasks import Task

#: Characters of an answer that are kept as the reason.
LONGEST_ANSWER = 500
TOO_MANY = 429
BROKEN = 500


class BitrixError(UserError):
    """Bitrix24 refused or could not answer: the deal has failed with this reason."""


class PassingError(BitrixError):
    """The same, in a way that may pass."""


class Bitrix:
    """The webhook, for the time of one task."""

    def __init__(self, task: Task, options: DealSettings) -> None:
        if options.webhook_carex is None:
            raise UserError("WEBHOOK_CAREX: не задан; пример: WEBHOOK_CAREX=https://example.bitrix24.ru/rest/1/…/")
        self._task = task
        self._options = options
        self._url = options.webhook_carex.get_secret_value().rstrip("/") + "/"
        path = urlsplit(self._url).path
        hide(self._url, path, path.strip("/"))
        for name in ("httpx", "httpcore"):  # they log the address, in pieces
            logging.getLogger(name).setLevel(logging.WARNING)

    def call(self, method: str, body: dict[str, Any]) -> Any:
        """Return the `result` of a method; raise BitrixError with the answer's text."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(PassingError),
            stop=tenacity.stop_after_attempt(self._options.bitrix_attempts),
            wait=tenacity.wait_exponential_jitter(initial=self._options.bitrix_pause, max=60, jitter=0.1),
            reraise=True,
        )
        return retrying(self._call, method, body)

    def _call(self, method: str, body: dict[str, Any]) -> Any:
        self._task.may_go_on()
        await_turn(self._task.database, self._options.bitrix_rate)
        self._task.may_go_on()
        try:
            return self._post(method, body)
        except BitrixError:
            with self._task.database.statement() as cursor:
                cursor.execute("UPDATE tksva_q.deal_counter SET number = number + 1 WHERE name = 'bitrix'")
            raise

    def _post(self, method: str, body: dict[str, Any]) -> Any:
        try:
            answer = httpx.post(self._url + method, json=body, timeout=self._options.bitrix_timeout, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = redact(f"{type(error).__name__}: {one_line(error)}")
            raise PassingError(f"{method}: {reason}") from None
        text = redact(" ".join(answer.text.split()))[:LONGEST_ANSWER].replace("\0", "")
        reason = f"{method}: {answer.status_code} {text}"
        if answer.status_code == TOO_MANY or answer.status_code >= BROKEN or "QUERY_LIMIT_EXCEEDED" in answer.text:
            raise PassingError(reason)
        try:
            content = answer.json()
        except ValueError:
            raise PassingError(reason) from None
        if not answer.is_success or not isinstance(content, dict) or "result" not in content:
            raise BitrixError(reason)
        return content["result"]


def await_turn(database: Database, rate: float) -> None:
    """Wait for this process's turn: the slots are given out by one row, whoever asks."""
    with database.statement() as cursor:
        cursor.execute(
            "UPDATE tksva_q.deal_slot SET next_at = greatest(next_at, clock_timestamp()) + make_interval(secs => %s)"
            " RETURNING extract(epoch FROM next_at - clock_timestamp())::float",
            (1 / rate,),
        )
        row = cursor.fetchone() or (0.0,)
    time.sleep(max(0.0, row[0]))
