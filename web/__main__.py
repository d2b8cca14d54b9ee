"""Start the web process: `python -m web`."""

import sys
from typing import NoReturn

import uvicorn

import logs
import settings as settings_module
from errors import QueueError, SettingsError
from logs import log
from settings import Settings
from web.app import create_app
from web.security import is_loopback

#: Seconds that open streams get to end after SIGTERM.
STOP_SECONDS = 3


def host(settings: Settings) -> str:
    """Return the address to listen on: without API_TOKEN none but this machine's own."""
    if settings.api_token or is_loopback(settings.web_host):
        return settings.web_host
    log.warning(
        "web_on_loopback_only",
        extra={"reason": f"WEB_HOST={settings.web_host} без API_TOKEN; пример: API_TOKEN=длинный-случайный-ключ"},
    )
    return "127.0.0.1"


def main() -> NoReturn:
    """Read the settings and serve until SIGTERM or SIGINT."""
    try:
        settings = settings_module.load()
        logs.setup(settings)
        app = create_app(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except QueueError as error:
        log.error("web_not_started", extra={"reason": str(error)})
        sys.exit(1)
    address = host(settings)
    log.info("web_listens", extra={"host": address, "port": settings.web_port})
    uvicorn.run(
        app,
        host=address,
        port=settings.web_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    sys.exit(0)


if __name__ == "__main__":
    main()
