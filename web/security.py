"""Who may do what: the token, the browser's session, forms of foreign pages, the headers of every answer."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Request

from settings import Settings
from storage import faults

#: Seconds that a browser stays logged in.
SESSION_SECONDS = 12 * 3600
#: Wrong tokens from one address within FAILURE_SECONDS after which nothing more is listened to from there.
FAILURES = 10
FAILURE_SECONDS = 60.0
#: Addresses that are remembered.
ADDRESSES = 10_000

SESSION = "tksva_q_session"
BROWSER = "tksva_q_browser"

#: No inline script or style, nothing from elsewhere, no frame around us.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Refused(Exception):
    """A request that is not answered, and why."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}


def signing_key(settings: Settings) -> bytes:
    """Return the key of everything this process signs: from API_TOKEN, else one kept in VAR_DIR.

    Raises:
        StorageError: the key cannot be kept.
    """
    if settings.api_token:
        return hashlib.sha256(b"tksva_q web " + settings.api_token.get_secret_value().encode()).digest()
    path = settings.var_dir / "web.key"
    with faults(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        return _kept(path)


def _kept(path: Path) -> bytes:
    try:
        key = path.read_bytes()
        if len(key) == hashlib.sha256().digest_size:
            return key
    except FileNotFoundError:
        pass
    key = secrets.token_bytes(hashlib.sha256().digest_size)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
    new.rename(path)
    return key


def is_loopback(host: str) -> bool:
    """Tell whether a host's name or address can only mean this machine."""
    host = host.strip("[]").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Says whether a request may do what it asks for.

    Args:
        settings: of this installation.
        key: for signatures.
        clock: seconds since the epoch.
    """

    def __init__(self, settings: Settings, key: bytes, clock: Callable[[], float] = time.time) -> None:
        token = settings.api_token.get_secret_value() if settings.api_token else ""
        self._token = token.encode()
        self._key = key
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def open(self) -> bool:
        """Whether no token is asked for: then only this machine can reach the process."""
        return not self._token

    # --- who -----------------------------------------------------------------------------------------------------

    def check_host(self, request: Request) -> None:
        """Refuse a name of this process that it has not: a foreign page may have its own name lead here."""
        if self.open and not is_loopback(urlsplit(f"//{request.headers.get('host', '')}").hostname or ""):
            raise Refused(403, "без API_TOKEN страница отвечает только этой машине, по имени localhost или 127.0.0.1")

    def authorize(self, request: Request) -> None:
        """Refuse whoever does not know the token; a form of a foreign page is refused whoever's browser sends it."""
        if request.method not in {"GET", "HEAD"} and not _bearer(request):
            self.check_origin(request)
        if self.open or self.has_session(request):
            return
        given = _bearer(request) or _basic(request)
        address = request.client.host if request.client else ""
        if given is None:
            raise _unauthorized("нужен ключ API_TOKEN")
        self._check_rate(address)
        if not hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(self._token).digest()):
            self._note_failure(address)
            raise _unauthorized("ключ не тот")

    def _check_rate(self, address: str) -> None:
        recent = [when for when in self._failures.get(address, []) if self._clock() - when < FAILURE_SECONDS]
        if len(recent) >= FAILURES:
            wait = max(1, round(recent[0] + FAILURE_SECONDS - self._clock()))
            raise Refused(429, "слишком много неверных ключей, подождите минуту", {"Retry-After": str(wait)})

    def _note_failure(self, address: str) -> None:
        self._failures[address] = [*self._failures.get(address, [])[-FAILURES + 1 :], self._clock()]
        self._failures.move_to_end(address)
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)

    @staticmethod
    def check_origin(request: Request) -> None:
        """Refuse what a foreign page has the browser send."""
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        foreign = site not in {None, "same-origin", "none"}
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            foreign = True
        if foreign:
            raise Refused(403, "запрос пришёл с чужой страницы")

    # --- the browser ---------------------------------------------------------------------------------------------

    def session(self) -> str:
        """Return the cookie of a browser that has just logged in."""
        until = str(int(self._clock()) + SESSION_SECONDS)
        return f"{until}.{self.sign('session', until)}"

    def has_session(self, request: Request) -> bool:
        """Tell whether the browser has logged in."""
        until, _, signature = cookie(request, SESSION).partition(".")
        return (
            until.isascii()
            and until.isdecimal()
            and self.is_signed(signature, "session", until)
            and self._clock() < int(until)
        )

    def form_token(self, browser: str) -> str:
        """Return what a form of ours carries: only a page of ours can know it for this browser's cookie."""
        return self.sign("form", browser)

    def check_form(self, request: Request, token: str) -> None:
        """Refuse a form that did not come from a page of ours."""
        browser = cookie(request, BROWSER)
        if not browser or not self.is_signed(token, "form", browser):
            raise Refused(403, "форма устарела: обновите страницу и отправьте снова")

    # --- signatures ----------------------------------------------------------------------------------------------

    def sign(self, *parts: str) -> str:
        """Return the signature of these texts, in letters that an URL takes."""
        digest = hmac.digest(self._key, "\0".join(parts).encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def is_signed(self, signature: str, *parts: str) -> bool:
        """Tell whether this is the signature of these texts, in a time that says nothing."""
        return hmac.compare_digest(signature.encode(errors="replace"), self.sign(*parts).encode())


def cookie(request: Request, name: str) -> str:
    """Return the value of a cookie, "" where there is none."""
    try:
        found = SimpleCookie(request.headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _unauthorized(text: str) -> Refused:
    return Refused(401, text, {"WWW-Authenticate": 'Basic realm="tksva_q", charset="UTF-8"'})


def _bearer(request: Request) -> bytes | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    # Starlette reads headers as latin-1: these are the bytes that were sent.
    return token.strip(" \t").encode("latin-1") if scheme.lower() == "bearer" else None


def _basic(request: Request) -> bytes | None:
    scheme, _, packed = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(packed.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return password if colon else None
