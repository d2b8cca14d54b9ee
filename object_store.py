"""Finished files in S3-compatible storage, through fsspec: an object has its name when all of it is there, not before.

A file goes up in pieces that nobody can list or fetch; one last request makes an object of them. Until then whoever
knows the upload's id can take it away: so a successor leaves a predecessor that was frozen, not dead, with nothing to
complete. What an object is stands in its metadata: the job, the attempt, the checksum.
"""

import base64
import datetime
import hashlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from errors import StoreAway, StoreRefused
from settings import Settings
from storage import content_type

#: Bytes of a piece, at least; a store takes PIECES of them at most.
PIECE = 8 << 20
PIECES = 10_000
#: Bytes handed on at once where an object is read.
BLOCK = 256 << 10
#: Seconds that a short request may take; two of them fit into a transaction of the queue (db.CALL_SECONDS).
CALL_SECONDS = 4.0
#: Seconds that a piece may take on a slow line, and that a store may need to put many pieces together.
PIECE_SECONDS = 300.0
COMPLETE_SECONDS = 120.0

_CONFIG: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 60,
    "retries": {"mode": "standard", "total_max_attempts": 2},
    # Newer checksums in trailers are refused by many stores that are not Amazon's; each piece has its MD5 instead.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_GONE = {"NoSuchKey", "NoSuchUpload", "404", "PreconditionFailed", "412"}
_TOO_BUSY = {"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError"}
_SERVER_FAULT, _NOT_IMPLEMENTED = 500, 501
#: What a store says, and what helps.
_REMEDIES = {
    "NoSuchBucket": "нет такого бакета: создайте его или исправьте FILES_URL",
    "InvalidAccessKeyId": "ключ неизвестен: исправьте AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "подпись неверна: исправьте AWS_SECRET_ACCESS_KEY",
    "AccessDenied": "у ключа нет права на это: проверьте AWS_ACCESS_KEY_ID и политику бакета",
    "403": "ключ неверен или не имеет права: проверьте AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY и политику бакета",
    "NotImplemented": "это хранилище так не умеет",
    "MethodNotAllowed": "это хранилище так не умеет",
    "ExpiredToken": "срок AWS_SESSION_TOKEN вышел",
    "RequestTimeTooSkewed": "часы этой машины расходятся с часами хранилища: timedatectl set-ntp true",
    "PermanentRedirect": "бакет в другом регионе: исправьте AWS_DEFAULT_REGION или AWS_ENDPOINT_URL",
    "AuthorizationHeaderMalformed": "бакет в другом регионе: исправьте AWS_DEFAULT_REGION",
    "NoCredentialsError": "не заданы AWS_ACCESS_KEY_ID и AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "задайте и AWS_ACCESS_KEY_ID, и AWS_SECRET_ACCESS_KEY",
}


@dataclass(frozen=True)
class Stamp:
    """What an object says of itself."""

    job_id: int
    attempt: int  # that wrote it
    crc: int  # CRC-32 of its bytes

    def metadata(self) -> dict[str, str]:
        """Return it as the store keeps it."""
        return {"tksva-job": str(self.job_id), "tksva-attempt": str(self.attempt), "tksva-crc32": f"{self.crc:08x}"}

    @classmethod
    def of(cls, metadata: dict[str, str]) -> "Stamp | None":
        """Read it; None where somebody else has made the object."""
        try:
            return cls(
                int(metadata["tksva-job"]), int(metadata["tksva-attempt"]), int(metadata["tksva-crc32"], base=16)
            )
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True)
class Found:
    """An object that is there."""

    size: int  # bytes
    etag: str
    modified: datetime.datetime
    stamp: Stamp | None


@dataclass(frozen=True)
class Upload:
    """A file on its way, which nobody can see yet."""

    key: str
    id: str
    began: datetime.datetime


class ObjectStore:
    """The bucket of FILES_URL. Safe to use from several threads.

    Every method raises StoreAway where the store does not answer, StoreRefused where it refuses.
    """

    def __init__(self, settings: Settings) -> None:
        import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415 -- half a second, only where FILES_URL is set

        self.url = settings.files_url or ""
        self.bucket, _, prefix = self.url.partition("://")[2].partition("/")
        self.prefix = prefix + "/" if prefix else ""
        given = {
            "key": settings.aws_access_key_id,
            "secret": settings.aws_secret_access_key and settings.aws_secret_access_key.get_secret_value(),
            "token": settings.aws_session_token and settings.aws_session_token.get_secret_value(),
            "endpoint_url": settings.aws_endpoint_url,
        }
        # Its own methods for paths are not used: they take brackets in a name for a pattern.
        self._fs = fsspec.filesystem(
            "s3",
            client_kwargs={"region_name": settings.aws_default_region} if settings.aws_default_region else {},
            config_kwargs=_CONFIG,
            use_listings_cache=False,
            **{name: value for name, value in given.items() if value},
        )
        self._fs.retries = 1  # botocore tries again by itself

    def key(self, user_id: int, name: str) -> str:
        """Return the key of a file: as its path below FILES_DIR."""
        return f"{self.prefix}{user_id}/{name}"

    def address(self, user_id: int, name: str) -> str:
        """Return where a file is, for people."""
        return f"{self.url}/{user_id}/{name}"

    # --- in --------------------------------------------------------------------------------------------------------

    def begin(self, key: str, stamp: Stamp) -> str:
        """Begin an upload and return its id."""
        made = self._call("create_multipart_upload", Key=key, Metadata=stamp.metadata(), ContentType=content_type(key))
        return str(made["UploadId"])

    def send(self, key: str, upload: str, number: int, piece: bytes) -> str:
        """Send the piece of this number, from 1; return what `complete` wants to know of it."""
        digest = base64.b64encode(hashlib.md5(piece, usedforsecurity=False).digest()).decode()
        sent = self._call(
            "upload_part",
            PIECE_SECONDS,
            **{"Key": key, "UploadId": upload, "PartNumber": number, "Body": piece, "ContentMD5": digest},
        )
        return str(sent["ETag"])

    def complete(self, key: str, upload: str, pieces: list[str]) -> None:
        """Make the object of its pieces, all of it at once, in place of an older one."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(pieces, 1)]
        self._call(
            "complete_multipart_upload", COMPLETE_SECONDS, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    def abort(self, key: str, upload: str) -> None:
        """Take an upload away with its pieces; one that is complete or gone is no error."""
        try:
            self._call("abort_multipart_upload", Key=key, UploadId=upload)
        except FileNotFoundError:
            pass

    def uploads(self, key: str | None = None) -> Iterator[Upload]:
        """Return what is on its way under a key, or everything below the prefix, whoever began it."""
        after: dict[str, Any] = {}
        while True:
            page = self._call("list_multipart_uploads", Prefix=key or self.prefix, **after)
            for one in page.get("Uploads", []):
                if key is None or one["Key"] == key:
                    yield Upload(one["Key"], one["UploadId"], one["Initiated"])
            if not page.get("IsTruncated"):
                return
            after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    # --- out -------------------------------------------------------------------------------------------------------

    def find(self, key: str) -> Found | None:
        """Return what is known of an object; None where there is none."""
        try:
            head = self._call("head_object", Key=key)
        except FileNotFoundError:
            return None
        return Found(head["ContentLength"], head["ETag"], head["LastModified"], Stamp.of(head.get("Metadata", {})))

    def delete(self, key: str) -> int | None:
        """Delete an object; return its bytes, None where there was none."""
        found = self.find(key)
        self._call("delete_object", Key=key)  # also where there was none: else a missing bucket would look like one
        return found.size if found else None

    def read(self, key: str, etag: str, start: int, end: int) -> Iterator[bytes]:
        """Return the bytes `start` to before `end` of this very object; FileNotFoundError where it is another now."""
        from fsspec.asyn import sync  # type: ignore[import-untyped]  # noqa: PLC0415 -- see above

        if start == end:
            return
        body = self._call("get_object", Key=key, IfMatch=etag, Range=f"bytes={start}-{end - 1}")["Body"]
        try:
            left = end - start
            while left:
                try:
                    block = sync(self._fs.loop, body.read, BLOCK, timeout=_CONFIG["read_timeout"])
                except Exception as error:
                    raise self._fault(error) from None
                if not block:
                    raise StoreAway(f"{self.url}: соединение оборвалось")
                left -= len(block)
                yield block
        finally:
            self._fs.loop.call_soon_threadsafe(body.close)

    # --- whether it works ------------------------------------------------------------------------------------------

    def probe(self) -> bool:
        """Put a small object there as files are put there, read it and take it away again.

        Returns:
            Whether what a crash has left behind can be tidied up, too: the right to list uploads is not needed else.
        """
        key, said = f"{self.prefix}.tksva_q-doctor-{secrets.token_hex(8)}", b"tksva_q"
        self.abort(key, self.begin(key, Stamp(0, 0, 0)))
        upload = self.begin(key, Stamp(0, 0, 0))
        try:
            self.complete(key, upload, [self.send(key, upload, 1, said)])
            found = self.find(key)
            if found is None or b"".join(self.read(key, found.etag, 0, found.size)) != said:
                raise StoreRefused(f"{self.url}: записанное не читается")
        except BaseException:
            self.abort(key, upload)
            raise
        finally:
            self.delete(key)
        try:
            next(self.uploads(), None)
        except StoreRefused:
            return False
        return True

    # --- how it is spoken to ---------------------------------------------------------------------------------------

    def _call(self, method: str, seconds: float | None = None, **words: Any) -> dict[str, Any]:
        """Return the answer to a request; raise FileNotFoundError where what it names is not there."""
        try:
            limit = seconds or CALL_SECONDS
            answer: dict[str, Any] = self._fs.call_s3(method, timeout=limit, Bucket=self.bucket, **words)
        except Exception as error:  # botocore, aiohttp, asyncio and fsspec each have a root of their own
            raise self._fault(error) from None
        return answer

    def _fault(self, error: Exception) -> Exception:
        """Say what an error of the libraries means here. Their texts are kept: nothing else says what is wrong."""
        answer = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
        if not isinstance(answer, dict):
            kind = type(error).__name__
            if kind in _REMEDIES:
                return StoreRefused(f"{self.url}: {_REMEDIES[kind]}")
            if kind == "ParamValidationError":
                return StoreRefused(f"{self.url}: {_line(error)}")
            return StoreAway(f"{self.url} не отвечает: {_line(error) or 'вовремя ответа не было'}")
        code = str(answer.get("Error", {}).get("Code", ""))
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _GONE:
            return FileNotFoundError(code)
        said = _line(error)
        if (status >= _SERVER_FAULT and status != _NOT_IMPLEMENTED) or code in _TOO_BUSY:
            return StoreAway(f"{self.url} не принимает запросов: {code} {said}")
        return StoreRefused(f"{self.url}: {_REMEDIES.get(code, 'отказано')} ({code}: {said})")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


_opened: dict[Settings, ObjectStore] = {}
_opening = threading.Lock()


def open_store(settings: Settings) -> ObjectStore | None:
    """Return the store of FILES_URL, one a process; None where files stay in FILES_DIR."""
    if not settings.files_url:
        return None
    with _opening:
        if settings not in _opened:
            _opened[settings] = ObjectStore(settings)
        return _opened[settings]
