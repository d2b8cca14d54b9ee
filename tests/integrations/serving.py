"""A workload for the tests whose services behave as a table of the tests' own tells them."""

import os
import time

from errors import WarehouseError
from services import Runtime, Service


def obey(runtime: Runtime) -> None:
    """Do what the table `order_for` says for this service, if there is one."""
    while not runtime.stopping():
        with runtime.database.statement() as cursor:
            cursor.execute("SELECT word FROM order_for WHERE service = %s", (runtime.name,))
            word = (cursor.fetchone() or ("",))[0]
        runtime.alive("нет связи" if word == "trouble" else None)
        if word == "fail":
            raise WarehouseError("nothing to serve")
        if word == "end":
            return
        if word == "leave":
            os._exit(3)
        if word == "stubborn":
            time.sleep(600)
        time.sleep(0.02)


SERVICES = (Service("waiter", obey), Service("cook", obey))
