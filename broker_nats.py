"""NATS: a stream of JetStream (nats-server -js) that forgets what was acknowledged."""

from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from taskiq_nats import PullBasedJetStreamBroker

from brokers import CONNECT_SECONDS, MOST_MESSAGES, QUEUE

#: Seconds that one call waits for a message; the next one follows at once.
FETCH_SECONDS = 2.0


class NatsBroker(PullBasedJetStreamBroker):
    """TaskIQ's broker for JetStream, on a connection that breaks for good, as RabbitMQ's."""

    def __init__(self, url: str) -> None:
        super().__init__(
            url,
            subject=QUEUE,
            stream_name=QUEUE,
            durable=QUEUE,
            stream_config=StreamConfig(
                max_msgs=MOST_MESSAGES, discard=DiscardPolicy.OLD, retention=RetentionPolicy.WORK_QUEUE
            ),
            pull_consume_timeout=FETCH_SECONDS,
            allow_reconnect=False,
            connect_timeout=CONNECT_SECONDS,
        )

    @property
    def lost(self) -> bool:
        """Whether the connection has broken."""
        return not self.client.is_connected


def open_broker(url: str) -> NatsBroker:
    """Return the broker at a URL, not connected yet."""
    return NatsBroker(url)
