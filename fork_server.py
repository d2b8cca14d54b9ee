"""What the fork server does before it serves: it asks the kernel to end it with the daemon, however the daemon ends.

Imported by the fork server alone, as the first of what it preloads. Left to itself it ends when the pipe from the
daemon is closed, but every child of its own has that pipe's other end as well: one that is busy, and does not look,
would keep the fork server alive, and itself with it.
"""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that made it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "fork_server":
    end_with_parent()
