"""What an installation chooses about the timers, in `.env`."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr

from setting_values import MAX_PORT, YEAR, Folder, Host, Port, Switch, Text, address, duration, folder, url, whole
from settings import Part


class TimerSettings(Part):
    """Keys of `.env` that belong to the timers; secrets show themselves only when asked."""

    schedules_file: Folder = Field(
        default_factory=lambda: folder(Path(__file__).resolve().parents[2] / "schedules.toml"),
        examples=["schedules.toml"],
    )
    #: ClickHouse that gets the journal and the alerts too; empty: PostgreSQL alone has them.
    ch_host: Host = Field(default="", examples=["127.0.0.1"])
    ch_port: Port = Field(default=None, examples=["9000"])
    ch_user: Text = Field(default="default", examples=["default"])
    ch_password: SecretStr = Field(default=SecretStr(""), examples=["…"])
    ch_database: Text = Field(default="zakaz", pattern=r"^[A-Za-z_]\w*$", examples=["zakaz"])
    ch_secure: Switch = Field(default=False, examples=["off"])

    #: Hours.
    alert_repeat_hours: Annotated[float, BeforeValidator(duration(60, YEAR, 3600))] = Field(
        default=24.0, examples=["24"]
    )
    smtp_host: Host = Field(default="", examples=["mail.example"])
    smtp_port: Annotated[int, BeforeValidator(whole(1, MAX_PORT))] = Field(default=587, examples=["587"])
    smtp_user: Text = Field(default="", examples=["robot@example.org"])
    smtp_password: SecretStr = Field(default=SecretStr(""), examples=["…"])
    smtp_use_tls: Switch = Field(default=True, examples=["on"])
    alert_email_from: Annotated[str, BeforeValidator(address)] = Field(
        default="tksva_q@localhost", examples=["queue@example.org"]
    )
    alert_email_to: Annotated[str | None, BeforeValidator(address)] = Field(default=None, examples=["duty@example.org"])
    tg_bot_token: SecretStr = Field(default=SecretStr(""), examples=["…"])
    tg_chat_id: Text = Field(default="", examples=["-100123"])
    tg_api_url: Annotated[str, BeforeValidator(url("http", "https"))] = Field(
        default="https://api.telegram.org", examples=["https://api.telegram.org"]
    )
    alert_webhook: Annotated[SecretStr | None, BeforeValidator(url("http", "https"))] = Field(
        default=None, examples=["https://chat.example/hooks/…"]
    )
