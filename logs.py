"""Logs: one line an event, `event key=value …`, on standard output and, where LOG_FILE asks for it, in a file.

    log.info("job_done", extra={"job": job.id, "rows": rows, "seconds": seconds})

Nothing that the settings call a secret is ever written, wherever in a line or a traceback it stands.
"""

import datetime
import json
import logging
import os
import re
import stat
import sys
import threading
import types
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, TextIO
from urllib.parse import quote, unquote

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from logfile import SharedFile
from settings import Settings

#: Characters of one field, and of a traceback, that are written; the journal splits longer lines.
LONGEST_FIELD = 2000
LONGEST_TRACEBACK = 16_000
#: Secrets shorter than this are hidden only where they stand as a word: everywhere, they would tear up other words.
SHORT_SECRET = 6
HIDDEN = "***"

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: What journald makes of a line's beginning, see sd-daemon(3).
_PRIORITIES = ((logging.CRITICAL, "<2>"), (logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"))
_PRIORITY_DEBUG = "<7>"
#: Passwords by their place, whoever's they are.
_IN_URL = re.compile(r"(\w://[^\s:/@]*:)[^\s/@]+(?=@)")
_NAMED = re.compile(r"(?i)\b(password|passwd|pwd|token)(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'\"&,;)]+)")

log = logging.getLogger("tksva_q")


# --- what must not be written -----------------------------------------------------------------------------------------


class Secrets:
    """Texts that are hidden wherever they turn up, in whichever way they are written there."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str]) -> None:
        """Hide these too; of an URL, its password."""
        for secret in secrets:
            for text in _passwords(secret) if "://" in secret else [secret]:
                self._known |= _spellings(text)
        known = sorted(self._known - {""}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_anywhere, known))) if known else None

    def hide(self, text: str) -> str:
        """Return the text without them, and without what looks like a password by its place."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        if "://" in text:
            text = _IN_URL.sub(rf"\1{HIDDEN}", text)
        return _NAMED.sub(rf"\1\2{HIDDEN}", text)


def _passwords(url: str) -> set[str]:
    """Return what may be the password of an URL, one with unescaped signs in it included."""
    found = re.findall(r"[?&]password=([^&]+)", url)
    for pattern in (r"://[^:/@]*:(.+)@", r"://[^:/@]*:([^@]+)@"):
        found += re.findall(pattern, url)
    # A client that reads the sign as the end of the password complains about "host" and shows the rest.
    pieces = [piece for password in found for piece in re.split(r"[@/?#:]", password)]
    return {*found, *(piece for piece in pieces if len(piece) >= SHORT_SECRET)}


def _spellings(secret: str) -> set[str]:
    """Return a secret as it may stand in an URL, in Python's words, in JSON and in libpq's connection string."""
    plain = {secret, unquote(secret)}
    ways = (
        lambda text: quote(text, safe=""),
        quote,
        lambda text: repr(text)[1:-1],
        lambda text: json.dumps(text)[1:-1],
        lambda text: text.replace("\\", "\\\\").replace("'", "\\'"),
    )
    return plain | {write(text) for text in plain for write in ways}


def _anywhere(secret: str) -> str:
    pattern = re.escape(secret)
    return pattern if len(secret) >= SHORT_SECRET else rf"(?<!\w){pattern}(?!\w)"


_secrets = Secrets()


def hide(*secrets: str) -> None:
    """Never write these texts: for secrets that do not come from `Settings`."""
    _secrets.add(secrets)


def hide_secrets(settings: BaseSettings) -> None:
    """Never write the passwords that the settings hold."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    hide(*(value.get_secret_value() for value in values if isinstance(value, SecretStr)))


def redact(text: str) -> str:
    """Return a text as it may be shown: without the secrets that this process knows of."""
    return _secrets.hide(text)


# --- a record as a line -----------------------------------------------------------------------------------------------


class Line(logging.Formatter, ABC):
    """Formats a record as one line without secrets; what the line looks like is the subclasses' matter."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = {key: _shown(value) for key, value in record_fields(record).items()}
        if record.exc_info:
            fields["traceback"] = redact(self.formatException(record.exc_info))[-LONGEST_TRACEBACK:]
        when = datetime.datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        event = redact(record.getMessage())[:LONGEST_FIELD]
        return self.line(when, record.levelname, event, fields)

    @abstractmethod
    def line(self, when: str, level: str, event: str, fields: dict[str, Any]) -> str:
        """Return the line that is made of these parts."""


class KeyValue(Line):
    """`2026-01-31T09:00:00.000+03:00 INFO job_done job=1 seconds=0.250`."""

    def line(self, when: str, level: str, event: str, fields: dict[str, Any]) -> str:
        """Return the event and its fields, quoted where a value has blanks."""
        pairs = [f"{key}={_quoted(value)}" for key, value in fields.items()]
        return " ".join([when, level, printable(event), *pairs])


class Json(Line):
    """One JSON object a line: `time`, `level`, `event` and the fields."""

    def line(self, when: str, level: str, event: str, fields: dict[str, Any]) -> str:
        """Return the object."""
        parts = fields | {"time": when, "level": level, "event": event}
        ordered = {key: parts.pop(key) for key in ("time", "level", "event")}
        return printable(json.dumps(ordered | parts, ensure_ascii=False, default=str))


class Journal(logging.Formatter):
    """What another formatter makes, with the priority by which journald files it."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the line behind its priority."""
        priority = next((prefix for level, prefix in _PRIORITIES if record.levelno >= level), _PRIORITY_DEBUG)
        return priority + self._inner.format(record)


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what `extra` gave to a record."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and value is not None}


def _shown(value: object) -> object:
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 3)
    return redact(str(value))[:LONGEST_FIELD]


def printable(text: str) -> str:
    """Return a text as one line that steers no terminal."""
    return _UNPRINTABLE.sub(_escape, text)


def _quoted(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if text and not set(text) & set(' "=\\') and not _UNPRINTABLE.search(text):
        return text
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _escape(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0]) or f"\\u{ord(found[0]):04x}"


# --- where lines go ---------------------------------------------------------------------------------------------------


class StandardOutput(logging.StreamHandler[TextIO]):
    """The handler of this module, to be told from those of others."""


def setup(settings: Settings) -> None:
    """Send this process's logs to standard output at LOG_LEVEL, and to LOG_FILE where it is set.

    LOG_FILE gets what standard output gets; beside it, `NAME.debug.EXT` gets everything. A file that cannot be
    written costs a warning, not the service: the lines are on standard output all the same.
    """
    hide_secrets(settings)
    line: Line = Json() if settings.log_json else KeyValue()
    # Half a surrogate pair in a file's name must not cost the line.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    out = StandardOutput(sys.stdout)
    out.setFormatter(Journal(line) if _is_journal(sys.stdout) else line)
    out.setLevel(settings.log_level)
    handlers: list[logging.Handler] = [out]
    problem = None
    if settings.log_file:
        try:
            handlers += _files(settings, line)
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}"
    _replace(handlers)
    log.setLevel(logging.DEBUG if len(handlers) > 1 else settings.log_level)
    logging.captureWarnings(capture=True)
    sys.excepthook = _crashed
    threading.excepthook = lambda args: _crashed(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
    if problem:
        log.warning("log_file_not_written", extra={"reason": problem})


def _files(settings: Settings, line: Line) -> list[logging.Handler]:
    main = settings.log_file
    if main is None:
        return []
    files = SharedFile(main), SharedFile(main.with_name(f"{main.stem}.debug{main.suffix}"))
    for file in files:
        file.setFormatter(line)
    files[0].setLevel(settings.log_level)
    return list(files)


def _replace(handlers: list[logging.Handler]) -> None:
    """Put the handlers in the place of those of an earlier setup, on the root: libraries speak the same way."""
    root = logging.getLogger()
    for known in list(root.handlers):
        if isinstance(known, StandardOutput | SharedFile):
            root.removeHandler(known)
            known.close()
    for handler in handlers:
        root.addHandler(handler)


def _is_journal(stream: TextIO) -> bool:
    """Tell whether systemd reads the stream; what a service starts may have its output in a file or on a terminal."""
    if not os.environ.get("JOURNAL_STREAM"):
        return False
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)


def _crashed(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    """Log what nobody caught: Python's own report would be many lines, with whatever secrets are in them."""
    # A COPY whose server goes away: psycopg2 prints a SystemError, and then raises what it is.
    printed = trace is None or type(error.__cause__).__module__.startswith("psycopg2")
    if issubclass(kind, KeyboardInterrupt) or (issubclass(kind, SystemError) and printed):
        return
    log.critical("crashed", exc_info=(kind, error, trace))
