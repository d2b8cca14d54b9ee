"""The settings of the parser manager."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from setting_values import MAX_PORT, Host, Switch, Text, stripped, whole
from settings import Part

SOURCE_TYPES = ("rss", "vk", "youtube")


def _topic(value: Any) -> Any:
    """Refuse what Kafka does not take for a topic."""
    value = stripped(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", str(value)):
        raise ValueError("не название топика: латинские буквы, цифры, «.», «_» и «-»")
    return value


Topic = Annotated[str, BeforeValidator(_topic)]


class ParserSettings(Part):
    """Where Kafka is, which topics, how much at once."""

    kafka_host: Host = Field(default="127.0.0.1", examples=["127.0.0.1"])
    kafka_port: Annotated[int, BeforeValidator(whole(1, MAX_PORT))] = Field(default=9092, examples=["9092"])
    #: Bytes.
    kafka_max_request_size: Annotated[int, BeforeValidator(whole(1024, 2**30))] = Field(
        default=1_048_576, examples=["1048576"]
    )
    kafka_workers_enabled: Switch = Field(default=True, examples=["on"])
    kafka_heartbeat_interval_ms: Annotated[int, BeforeValidator(whole(100, 600_000))] = Field(
        default=5000, examples=["5000"]
    )
    kafka_session_timeout_ms: Annotated[int, BeforeValidator(whole(1000, 1_800_000))] = Field(
        default=45_000, examples=["45000"]
    )
    kafka_tasks_consumer_group: Text = Field(default="parser_manager", min_length=1, examples=["parser_manager"])
    kafka_default_bulk_size: Annotated[int, BeforeValidator(whole(1, 100_000))] = Field(default=1000, examples=["1000"])
    #: Milliseconds, at most.
    kafka_default_bulk_timeout: Annotated[int, BeforeValidator(whole(1, 10_000))] = Field(
        default=10_000, examples=["10000"]
    )
    kafka_task_status_topic: Topic = Field(default="task_statuses", examples=["task_statuses"])
    rss_parser_tasks_topic: Topic = Field(default="rss_parser_tasks", examples=["rss_parser_tasks"])
    vk_parser_tasks_topic: Topic = Field(default="vk_parser_tasks", examples=["vk_parser_tasks"])
    youtube_parser_tasks_topic: Topic = Field(default="youtube_parser_tasks", examples=["youtube_parser_tasks"])
    default_pagination_size: Annotated[int, BeforeValidator(whole(1, 1000))] = Field(default=100, examples=["100"])

    @property
    def broker(self) -> str:
        """Kafka's address."""
        host = f"[{self.kafka_host}]" if ":" in self.kafka_host else self.kafka_host
        return f"{host}:{self.kafka_port}"

    def topic(self, source_type: str) -> str:
        """Return where tasks of a kind of source go."""
        return str(getattr(self, f"{source_type}_parser_tasks_topic"))

    @property
    def topics(self) -> dict[str, str]:
        """The topics of tasks, by the kind of source."""
        return {kind: self.topic(kind) for kind in SOURCE_TYPES}
