"""How many rows a form asks for, counted beside everything else: a warehouse that hangs holds up nothing but this."""

import asyncio
import threading
from concurrent.futures import Future

from errors import UserError
from settings import Settings
from web import choices

#: Seconds that somebody who asks waits.
ESTIMATE_SECONDS = 5.0
#: Countings at the same time, those included that nobody waits for any more.
SEATS = 4


class Estimates:
    """Counts in threads of its own; those that hang end with the process, and do not keep it from ending."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seats = threading.BoundedSemaphore(SEATS)

    async def count(self, form: choices.Form, place: str, start: str, finish: str) -> int:
        """Return how many rows a filled form asks for.

        Raises:
            UserError: the form is filled wrongly, there are too many rows to count them while somebody waits, or too
                many who wait.
            WarehouseError: the warehouse cannot say.
        """
        if not self._seats.acquire(blocking=False):
            raise UserError("хранилище ещё считает строки для других, попробуйте позже")
        found: Future[int] = Future()
        found.set_running_or_notify_cancel()  # whoever stops waiting cancels nothing

        def work() -> None:
            try:
                found.set_result(choices.estimate(self._settings, form, place, start, finish))
            except Exception as error:
                found.set_exception(error)
            finally:
                self._seats.release()

        threading.Thread(target=work, name="estimate", daemon=True).start()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(found), ESTIMATE_SECONDS)
        except TimeoutError:
            raise UserError("строк так много, что их не сосчитать за несколько секунд") from None
