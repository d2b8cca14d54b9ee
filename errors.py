"""Every error the queue raises on purpose; the class says how the job ends."""


class QueueError(Exception):
    """Root of the project's errors; the message is one line that says what to change."""


class UserError(QueueError):
    """The request itself is wrong: the job ends in `ошибка` at once, trying again cannot help."""


class WarehouseError(QueueError):
    """The warehouse failed or could not be reached: may pass, tried again with growing pauses."""


class StorageError(QueueError):
    """A file or folder could not be written (disk full, quota, rights): may pass, tried again."""


class StoreError(QueueError):
    """Root of what the store of FILES_URL may do: what is prepared stays prepared, and only the upload begins again."""


class StoreRefused(StoreError):
    """The store refused (keys, rights, no bucket): may pass, tried again with growing pauses."""


class StoreAway(StoreError):
    """The store does not answer: the job waits for it with growing pauses, and no attempt is spent."""


class SettingsError(QueueError):
    """A setting is missing or makes no sense: the process does not start, exit status 2."""


class LostJob(QueueError):
    """Another worker owns the job now: stop, and touch neither its row nor its files."""


class RowHeld(QueueError):
    """Somebody has locked the job's row, or that of `post`: it is left as it is until a later look."""


class Interrupted(QueueError):
    """The worker was asked to stop: the job goes back to the queue at its page boundary."""


class Cancelled(QueueError):
    """Nobody wants the file any more: the row was hidden by its user, deleted or cancelled."""


class Postponed(QueueError):
    """What the job needs is not there: it goes back to the queue for so many seconds, and no attempt is spent."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds
