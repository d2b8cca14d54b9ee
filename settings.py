"""`.env` and the environment -> one typed, frozen `Settings`; the only place that reads either."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from errors import SettingsError
from setting_values import (
    BROKERS,
    MAX_PORT,
    YEAR,
    Folder,
    Host,
    Port,
    Switch,
    Text,
    address,
    bucket,
    delimiter,
    duration,
    folder,
    group_name,
    level,
    module_names,
    url,
    whole,
)

P = TypeVar("P", bound="Part")


class Part(BaseSettings):
    """Root of the settings of a workload: its field names are keys of the same `.env`, each with an example."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, env_file_encoding="utf-8-sig", validate_default=False
    )


class Settings(Part):
    """Everything an installation chooses; field names are the keys of `.env` in lower case.

    Paths are absolute (a relative one counts from the working directory). Secrets show themselves only
    when asked by `get_secret_value()`.
    """

    # The PostgreSQL of the job table; all empty: the embedded one.
    psql_host: Host = Field(default="", examples=["127.0.0.1"])
    psql_port: Port = Field(default=None, examples=["5432"])
    psql_dbname: Text = Field(default="", examples=["tksva"])
    psql_user: Text = Field(default="", examples=["tksva"])
    psql_pwd: SecretStr = Field(default=SecretStr(""), examples=["…"])
    #: Whether PSQL_HOST is a PgBouncer that gives a connection for one transaction only; not for the queue manager.
    psql_pooled: Switch = Field(default=False, examples=["off"])

    # The warehouse; nothing set: the job table's PostgreSQL.
    dwh_url: Annotated[SecretStr | None, BeforeValidator(url())] = Field(
        default=None, examples=["postgresql://user:password@127.0.0.1:5432/dwh"]
    )
    click_host: Host = Field(default="", examples=["127.0.0.1"])
    click_port: Port = Field(default=None, examples=["9000"])
    click_dbname: Text = Field(default="", examples=["default"])
    click_user: Text = Field(default="", examples=["default"])
    click_pwd: SecretStr = Field(default=SecretStr(""), examples=["…"])
    click_secure: Switch = Field(default=False, examples=["off"])
    click_verify: Switch = Field(default=True, examples=["on"])

    #: Rows per page.
    chunk_size: Annotated[int, BeforeValidator(whole(1, 10_000_000))] = Field(default=50_000, examples=["50000"])
    #: Hours; 0: a prepared file goes at once.
    how_many_hours_to_store: Annotated[float, BeforeValidator(duration(0, 100 * YEAR, 3600))] = Field(
        default=72.0, examples=["72"]
    )
    download_grace_seconds: Annotated[float, BeforeValidator(duration(0, YEAR))] = Field(default=60.0, examples=["60"])

    var_dir: Folder = Field(default_factory=lambda: folder("var"), examples=["var"])
    files_dir: Folder = Field(default_factory=lambda data: data["var_dir"] / "files", examples=["/srv/tksva/files"])
    files_group: Annotated[str | None, BeforeValidator(group_name)] = Field(default=None, examples=["www-data"])

    #: Where finished files go instead: a bucket, and what its keys begin with; None: they stay in FILES_DIR.
    files_url: Annotated[str | None, BeforeValidator(bucket)] = Field(default=None, examples=["s3://tksva/files"])
    # By the names that every client of S3 knows; what is not set is looked for where those look, too.
    aws_access_key_id: Text | None = Field(default=None, examples=["AKIAIOSFODNN7EXAMPLE"])
    aws_secret_access_key: SecretStr | None = Field(default=None, examples=["…"])
    aws_session_token: SecretStr | None = Field(default=None, examples=["…"])
    aws_endpoint_url: Text | None = Field(default=None, examples=["https://storage.yandexcloud.net"])
    aws_default_region: Text | None = Field(default=None, examples=["ru-central1"])

    #: Seconds.
    poll_seconds: Annotated[float, BeforeValidator(duration(0.01, 3600))] = Field(default=1.0, examples=["1"])
    workers: Annotated[int, BeforeValidator(whole(1, 1000))] = Field(default=1, examples=["1"])
    #: Seconds.
    job_timeout: Annotated[float, BeforeValidator(duration(0.1, YEAR))] = Field(default=6 * 3600.0, examples=["6 h"])
    max_attempts: Annotated[int, BeforeValidator(whole(1, 1000))] = Field(default=5, examples=["5"])
    #: Seconds.
    heartbeat_seconds: Annotated[float, BeforeValidator(duration(0.05, 3600))] = Field(default=5.0, examples=["5"])

    csv_delimiter: Annotated[str, BeforeValidator(delimiter)] = Field(default=";", examples=[";"])
    csv_bom: Switch = Field(default=True, examples=["on"])
    csv_safe_formulas: Switch = Field(default=False, examples=["on"])

    integrations: Annotated[tuple[str, ...], NoDecode, BeforeValidator(module_names)] = Field(
        default=(), examples=["daily_reports,deals"]
    )
    broker_url: Annotated[SecretStr | None, BeforeValidator(url(*BROKERS))] = Field(
        default=None, examples=["amqp://user:password@127.0.0.1:5672/"]
    )

    web_host: Host = Field(default="127.0.0.1", examples=["127.0.0.1"])
    web_port: Annotated[int, BeforeValidator(whole(1, MAX_PORT))] = Field(default=8000, examples=["8000"])
    api_token: SecretStr | None = Field(default=None, examples=["…"])

    #: Where finished files are announced, besides the page; nothing set: nowhere.
    notify_webhook: Annotated[SecretStr | None, BeforeValidator(url("http", "https"))] = Field(
        default=None, examples=["https://chat.example/hooks/…"]
    )
    notify_smtp: Annotated[SecretStr | None, BeforeValidator(url("smtp", "smtps"))] = Field(
        default=None, examples=["smtp://user:password@mail.example:587"]
    )
    notify_from: Annotated[str, BeforeValidator(address)] = Field(
        default="tksva_q@localhost", examples=["queue@example.org"]
    )
    #: What a link in an announcement begins with; None: WEB_HOST and WEB_PORT.
    notify_link: Annotated[str | None, BeforeValidator(url("http", "https"))] = Field(
        default=None, examples=["https://queue.example.org"]
    )
    #: Hours for which such a link is good.
    link_hours: Annotated[float, BeforeValidator(duration(60, YEAR, 3600))] = Field(default=24.0, examples=["24"])

    log_level: Annotated[str, BeforeValidator(level)] = Field(default="INFO", examples=["INFO"])
    log_json: Switch = Field(default=False, examples=["off"])
    log_file: Annotated[Path | None, BeforeValidator(lambda value: value and folder(value))] = Field(
        default=None, examples=["/var/log/tksva_q/queue.log"]
    )

    @model_validator(mode="after")
    def _whole_psql(self) -> "Settings":
        """Refuse a half-named PostgreSQL: the embedded one in its place would silently be an empty queue."""
        # Over a socket the server may know the user by the system's account; the port has a usual value.
        needed = ["psql_host", "psql_dbname", "psql_user"]
        if not self.psql_host.startswith(("/", "@")):
            needed.append("psql_pwd")
        given = [name for name in (*needed, "psql_port", "psql_pwd") if getattr(self, name)]
        missing = [name for name in needed if not getattr(self, name)]
        if given and missing:
            raise ValueError(line(Settings, missing[0], f"не задан, хотя задан {given[0].upper()}"))
        return self

    @model_validator(mode="after")
    def _whole_store(self) -> "Settings":
        """Refuse half a key; without FILES_URL these are somebody else's and may be what they are."""
        if not self.files_url:
            return self
        if not (self.aws_endpoint_url or "https://").startswith(("http://", "https://")):
            raise ValueError(line(Settings, "aws_endpoint_url", "не URL: нет http:// или https:// в начале"))
        both = ("aws_access_key_id", "aws_secret_access_key")
        for name, other in (both, both[::-1]):
            if getattr(self, other) and not getattr(self, name):
                raise ValueError(line(Settings, name, f"не задан, хотя задан {other.upper()}"))
        return self

    @property
    def embedded(self) -> bool:
        """Whether the job table lives in the embedded PostgreSQL."""
        return not self.psql_host

    @property
    def lease_seconds(self) -> float:
        """Seconds without a heartbeat after which others may take a worker's jobs over."""
        return 3 * self.heartbeat_seconds


def line(kind: type[Part], name: str, problem: str) -> str:
    """Return what stops the start: the key, its problem, an example."""
    example = (kind.model_fields[name].examples or [""])[0]
    return f"{name.upper()}: {problem}; пример: {name.upper()}={example}"


def load(env_file: Path = Path(".env")) -> Settings:
    """Read the settings; variables of the environment win over `env_file`, a missing file is no error.

    Raises:
        SettingsError: one line with the key, what is wrong with it and an example; never a secret.
    """
    return load_part(Settings, env_file)


def load_part(kind: type[P], env_file: Path = Path(".env")) -> P:
    """Read settings of one kind: the queue's own, or a workload's; raise SettingsError as `load` does."""
    try:
        return kind(_env_file=env_file)  # type: ignore[call-arg]  # pydantic-settings' own argument
    except ValidationError as error:
        # Pydantic's own text would show the input, and with it passwords.
        first = error.errors(include_url=False, include_input=False)[0]
        problem = str(first.get("ctx", {}).get("error", first["msg"]))
        raise SettingsError(line(kind, str(first["loc"][0]), problem) if first["loc"] else problem) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{env_file}: файл не в UTF-8; пример: .envexample") from None
    except OSError as error:
        raise SettingsError(f"{env_file}: не читается ({error.strerror}); пример: .envexample") from None
