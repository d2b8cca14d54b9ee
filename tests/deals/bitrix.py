"""A stand-in for Bitrix24: its REST protocol over HTTP, able to be slow, to refuse, or to fall silent half-way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "a1secretword9"


class Bitrix:
    """Contacts and deals, and the log of every request."""

    def __init__(self) -> None:
        self.contacts: dict[int, str] = {}
        self.deals: dict[int, str] = {}
        self.log: list[tuple[float, str, int]] = []
        #: Tells what to do wrong: slow, 429, 500, limit, half, nothing.
        self.fault: Callable[[str, int], str] = lambda _method, _id: ""
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/rest/1/{SECRET}/"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def handle(self, method: str, body: dict) -> object:
        with self.lock:
            if method == "crm.contact.get":
                return {"ID": str(body["id"]), "ASSIGNED_BY_ID": self.contacts.get(body["id"], "1111")}
            kept = self.deals if method == "crm.deal.update" else self.contacts
            kept[body["id"]] = body["fields"]["ASSIGNED_BY_ID"]
            return True

    def _handler(bitrix) -> type[BaseHTTPRequestHandler]:  # noqa: N805 -- the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                method = self.path.rsplit("/", 1)[1]
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with bitrix.lock:
                    bitrix.log.append((time.monotonic(), method, body["id"]))
                fault = bitrix.fault(method, body["id"])
                if fault == "slow":
                    time.sleep(2)
                if fault == "nothing":
                    return
                if fault in {"429", "500"}:
                    self.reply(int(fault), {"error": "X", "error_description": f"refused at {self.path}"})
                elif fault == "limit":
                    self.reply(503, {"error": "QUERY_LIMIT_EXCEEDED", "error_description": "Too many requests"})
                else:
                    self.reply(200, {"result": bitrix.handle(method, body)}, half=fault == "half")

            def reply(self, status: int, content: object, half: bool = False) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if half else data)

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler
