"""A stand-in for Bitrix24: its REST protocol over HTTP, able to be slow, to refuse, or to fall silent half-way.

It is what the tests and the fault suite ask: what has happened, in which order, and who has what in the end.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

SECRET = "a1secretword9"
TECH_ACCOUNT = "1111"
NOT_FOUND = {"error": "", "error_description": "Not found"}


@dataclass(frozen=True)
class Call:
    """A method that was called, by itself or in a batch; a batch is one call more."""

    at: float  # monotonic seconds
    method: str
    id: int  # of the deal or the contact
    person: str  # who is made responsible; empty where that is not what is asked for


class Bitrix:
    """Contacts and deals, and the log of every request."""

    def __init__(self) -> None:
        self.contacts: dict[int, str] = {}
        self.deals: dict[int, str] = {}
        self.absent: set[int] = set()  # deals that are not known
        self.requests: list[float] = []  # when each came, in monotonic seconds
        self.calls: list[Call] = []
        #: Tells what to do wrong: slow, 429, 500, 400, limit, half, nothing, mute, html, odd. A mute one does what it
        #: is asked for, and says nothing. Of a command in a batch, all the others are an error.
        self.fault: Callable[[str, int], str] = lambda _method, _id: ""
        #: Is called before a request is answered.
        self.before: Callable[[str, int], object] = lambda _method, _id: None
        self.batches = True  # whether it knows that method
        self.pause = 0.0  # seconds that an answer takes
        self.slow = 2.0  # seconds that a slow one takes
        self.lock = threading.Lock()
        self.server = Server(self)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/rest/1/{SECRET}/"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def called(self, method: str) -> list[int]:
        """Return the deals or contacts that a method was called for, in order."""
        with self.lock:
            return [call.id for call in self.calls if call.method == method]

    def busiest(self, seconds: float = 1.0) -> int:
        """Return the largest number of requests within any so many seconds."""
        with self.lock:
            times = sorted(self.requests)
        most = first = 0
        for last, at in enumerate(times):
            while times[first] <= at - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def answer(self, method: str, body: dict[str, Any]) -> tuple[int, object]:
        """Do what a request asks for; return the status and the body of its answer."""
        if method == "batch" and not self.batches:
            return 404, {"error": "ERROR_METHOD_NOT_FOUND", "error_description": "Method not found!"}
        found = self.batch(body) if method == "batch" else self.handle(method, body)
        return (400, NOT_FOUND) if found is None else (200, {"result": found})

    def handle(self, method: str, body: dict[str, Any]) -> object:
        """Do what a method does; return its result, or None for the documented error."""
        number = int(body["id"])
        person = str(body.get("fields", {}).get("ASSIGNED_BY_ID", ""))
        with self.lock:
            self.calls.append(Call(time.monotonic(), method, number, person))
            if method == "crm.contact.get":
                return {"ID": str(number), "ASSIGNED_BY_ID": self.contacts.get(number, TECH_ACCOUNT)}
            if method == "crm.deal.update":
                if number in self.absent:
                    return None
                self.deals[number] = person
            else:
                self.contacts[number] = person
            return True

    def batch(self, body: dict[str, Any]) -> object:
        """Run the commands one after the other, as `halt` 0 has it."""
        results: dict[str, object] = {}
        errors: dict[str, object] = {}
        assert len(body["cmd"]) <= 50
        for name, command in body["cmd"].items():
            method, _, query = command.partition("?")
            fields = nested(query)
            if self.fault(method, int(fields["id"])) not in {"", "mute"}:
                errors[name] = {"error": "INTERNAL_SERVER_ERROR", "error_description": "Internal server error"}
                continue
            found = self.handle(method, fields)
            if found is None:
                errors[name] = NOT_FOUND
            else:
                results[name] = found
        # An empty array of PHP's is a list, also where others are objects.
        return {"result": results or [], "result_error": errors or [], "result_total": [], "result_next": []}


class Server(ThreadingHTTPServer):
    """Somebody who does not wait for its answer is nothing to complain of."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, bitrix: Bitrix) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bitrix = bitrix

    def handle_error(self, *_arguments: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """A request: what is wrong with it, or what it is answered."""

    server: Server

    def do_POST(self) -> None:
        bitrix = self.server.bitrix
        with bitrix.lock:
            bitrix.requests.append(time.monotonic())
        method = self.path.rsplit("/", 1)[1]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = int(body.get("id", 0))
        bitrix.before(method, number)
        fault = bitrix.fault(method, number)
        time.sleep(bitrix.slow if fault == "slow" else bitrix.pause)
        # PHP escapes the slashes of an address that it repeats.
        complaint = json.dumps(f"refused at {self.path}").replace("/", "\\/").encode()
        said = b'{"error": "X", "error_description": ' + complaint + b"}"
        match fault:
            case "nothing":
                pass
            case "429" | "500" | "400":
                self._reply(int(fault), said)
            case "limit":
                self._reply(503, b'{"error": "QUERY_LIMIT_EXCEEDED", "error_description": "Too many requests"}')
            case "html":
                self._reply(200, b"<html>" + said)
            case "odd":
                self._reply(200, b'{"result": "yes"}')
            case _:
                self._answer(*bitrix.answer(method, body), fault)

    def _answer(self, status: int, content: object, fault: str) -> None:
        data = json.dumps(content).encode()
        if fault != "mute":
            self._reply(status, data, half=fault == "half")

    def _reply(self, status: int, data: bytes, *, half: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)

    def log_message(self, *_arguments: object) -> None:
        pass


def nested(query: str) -> dict[str, Any]:
    """Return the fields of a query as PHP does: `fields[A]=1` is {"fields": {"A": "1"}}."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query):
        outer, bracket, inner = name.partition("[")
        if bracket:
            found.setdefault(outer, {})[inner.rstrip("]")] = value
        else:
            found[outer] = value
    return found
