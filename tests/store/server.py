"""A real S3-compatible server on a free port of this machine, which can be slow, refuse, break off, or be away."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import boto3
from botocore.config import Config
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

KEY, SECRET = "AKIAQUEUE0123", "hunter2hunter2"

_REFUSAL = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message><RequestId>1</RequestId></Error>"

#: What a request is, by method and query: names of S3's own.
_KINDS = (
    ("POST", r"(^|&)uploads(=|&|$)", "CreateMultipartUpload"),
    ("POST", r"uploadId=", "CompleteMultipartUpload"),
    ("PUT", r"partNumber=", "UploadPart"),
    ("DELETE", r"uploadId=", "AbortMultipartUpload"),
    ("DELETE", r"", "DeleteObject"),
    ("HEAD", r"", "HeadObject"),
    ("GET", r"(^|&)uploads(=|&|$)", "ListMultipartUploads"),
    ("GET", r"", "GetObject"),
)


def _is_open(upload: str) -> bool:
    buckets = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets.values()
    return any(upload in bucket.multiparts for bucket in buckets)


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing."""


class S3Server:
    """moto over HTTP, with a door that the tests hold."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.requests: list[str] = []  # kinds, in the order of their arrival
        self._answers: dict[str, tuple[int, str]] = {}  # kind -> status and code, in place of moto's answer
        self._held: dict[str, tuple[threading.Event, threading.Event]] = {}
        self.port = 0
        self.start()

    # --- the door ---------------------------------------------------------------------------------------------------

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        kind = self._kind(environ)
        self.requests.append(kind)
        if (credential := re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))) is None:
            return self._refuse(403, "AccessDenied")(environ, start_response)
        if credential[1] != KEY:
            return self._refuse(403, "InvalidAccessKeyId")(environ, start_response)
        if kind in self._held:
            came, go_on = self._held[kind]
            came.set()
            go_on.wait(60)
        if kind in self._answers:
            return self._refuse(*self._answers[kind])(environ, start_response)
        upload = parse_qs(environ.get("QUERY_STRING", "")).get("uploadId", [""])[0]
        if kind in {"UploadPart", "CompleteMultipartUpload"} and not _is_open(upload):
            return self._refuse(404, "NoSuchUpload")(environ, start_response)  # where moto has a KeyError
        return self._moto(environ, start_response)

    @staticmethod
    def _kind(environ: dict[str, Any]) -> str:
        method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        return next((name for verb, mark, name in _KINDS if verb == method and re.search(mark, query)), method)

    @staticmethod
    def _refuse(status: int, code: str) -> Response:
        return Response(_REFUSAL.format(code=code, text="no"), status, content_type="application/xml")

    @contextmanager
    def held(self, kind: str) -> Iterator[threading.Event]:
        """Let requests of this kind wait at the door while the block runs; yield what is set when the first came."""
        came, go_on = threading.Event(), threading.Event()
        self._held[kind] = came, go_on
        try:
            yield came
        finally:
            del self._held[kind]
            go_on.set()

    @contextmanager
    def answering(self, kind: str, status: int, code: str) -> Iterator[None]:
        """Answer requests of this kind with a refusal while the block runs."""
        self._answers[kind] = status, code
        try:
            yield
        finally:
            del self._answers[kind]

    # --- the house --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=_Silent)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections; what is stored stays."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, bucket: str) -> dict[str, object]:
        """What an installation sets to keep its files in this bucket."""
        return {
            "files_url": f"s3://{bucket}/готовые файлы",
            "aws_access_key_id": KEY,
            "aws_secret_access_key": SECRET,
            "aws_endpoint_url": self.url,
        }


class Bucket:
    """A bucket as another program sees it, with a client of its own."""

    def __init__(self, server: S3Server, name: str) -> None:
        self.server = server
        self.name = name
        self.client = boto3.client(
            "s3",
            endpoint_url=server.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self.client.create_bucket(Bucket=name)

    @property
    def settings(self) -> dict[str, object]:
        return self.server.settings(self.name)

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [one["Key"].removeprefix("готовые файлы/") for one in listed]

    def read(self, name: str, user: int = 1) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=f"готовые файлы/{user}/{name}")["Body"].read()
        return content

    def put(self, name: str, content: bytes, user: int = 1) -> None:
        self.client.put_object(Bucket=self.name, Key=f"готовые файлы/{user}/{name}", Body=content)

    def uploads(self) -> list[str]:
        listed = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return [one["UploadId"] for one in listed]

    def close(self) -> None:
        self.client.close()
