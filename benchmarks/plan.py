"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The sizes of one run; the defaults are those of the published figures."""

    runs: int = 5  # of everything that is compared; the median counts
    csv_rows: int = 500_000
    csv_memory: tuple[int, int] = (100_000, 2_000_000)  # rows of the exports whose memory is compared
    xlsx_rows: int = 100_000
    xlsx_memory: tuple[int, int] = (100_000, 1_000_000)
    page_rows: int = 2_000_000  # of the export whose first and last pages are compared
    chunk_size: int = 50_000
    pickups: int = 200
    drained: int = 5_000  # empty jobs
    drained_slow: int = 300  # where a job costs ten times as much
    peers: int = 100  # with which that is compared, at most
    brokered: tuple[int, int, int] = (5_000, 1_000, 2_000)  # empty, short, single jobs handed out over a broker
    broker_workers: tuple[int, ...] = (1, 2, 4)
    history: tuple[int, int] = (1_000, 1_000_000)  # finished rows in `post` and in the queue's memory, few and many
    waiting: tuple[int, int] = (1_000, 100_000)  # rows in the queue, few and many
    rounds: int = 200  # of a tick, a claim, a settling
    statuses: int = 20_000  # of parsers, in batches
    singles: int = 50  # and one by one
    idle_seconds: float = 60
    asked: int = 15  # times that each page is asked for
    watched_seconds: float = 20  # for which many browsers watch a bar
    slots: int = 1_000  # of schedules
