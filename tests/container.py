"""A Debian of its own with a real systemd, in which the units are installed, started, killed and stopped.

The base system is made once by debootstrap and kept in the user's cache; each container is a layer of memory above
it, so that it boots within a second and leaves nothing behind. Its network is this machine's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests import ROOT
from tests.waiting import PATIENCE, wait_for

SUITE = "bookworm"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
#: systemd and the interpreter that Debian 12 has; the project brings its own packages.
PACKAGES = "systemd,systemd-sysv,dbus,python3,passwd"
PYTHON = "3.11"
PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "systemd-analyze": "systemd",
    "nsenter": "util-linux",
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tksva_q" / "boot"
HOME = "/opt/tksva_q"
_AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
_CAP_SYS_ADMIN = 21


class CannotBoot(Exception):
    """This machine cannot run a container with systemd; the message says why."""


def obstacle() -> str:
    """Return why no container can be booted here, as far as it is known beforehand; nothing where it can."""
    missing = [package for program, package in PROGRAMS.items() if not _find(program)]
    if missing:
        return "apt-get install " + " ".join(missing)
    if _AS_ROOT and subprocess.run([*_AS_ROOT, "true"], capture_output=True, check=False).returncode:
        return "neither root nor sudo without a password"
    if not _AS_ROOT:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        capabilities = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
        if not capabilities >> _CAP_SYS_ADMIN & 1:
            return "root without CAP_SYS_ADMIN (a container without privileges)"
    return ""


def _find(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _root(*command: str | Path, seconds: float = PATIENCE) -> str:
    """Run a command as root; return its output."""
    words = [*_AS_ROOT, _find(str(command[0])) or str(command[0]), *map(str, command[1:])]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
    )
    if done.returncode:
        raise CannotBoot(f"{command[0]}: {done.stdout.strip()[-2000:]}")
    return done.stdout


# --- what is made once ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time fill the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def base_system() -> Path:
    """Return the folder of the base system, made where it is not there yet (a minute or two)."""
    base = CACHE / f"{SUITE}-{hashlib.sha256(PACKAGES.encode()).hexdigest()[:8]}"
    with _alone():
        if not base.exists():
            half = base.with_suffix(".half")
            _root("rm", "-rf", half)
            _root("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, half, MIRROR, seconds=600)
            _root("mv", half, base)
    return base


def packages() -> Path:
    """Return a folder with what the service and the page need, for the container's Python."""
    files = [path for path in ROOT.glob("requirements*.txt") if "dev" not in path.name]
    lines = [line for path in sorted(files) for line in path.read_text(encoding="utf-8").splitlines()]
    # Under systemd the queue has a PostgreSQL of the machine's, not the embedded one.
    wanted = [line for line in lines if line and not line.startswith(("#", "-r", "pixeltable"))]
    folder = CACHE / f"packages-{hashlib.sha256(repr((PYTHON, wanted)).encode()).hexdigest()[:8]}"
    with _alone():
        if not folder.exists():
            half = folder.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            tags = [f"manylinux_2_{minor}_{platform.machine()}" for minor in range(36, 4, -1)]
            tags += [f"{name}_{platform.machine()}" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "-qq",
                "--disable-pip-version-check",
                "--target",
                str(half),
            ]
            command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
            command += [f"--platform={tag}" for tag in tags]
            done = subprocess.run([*command, *wanted], capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                raise CannotBoot(f"pip: {done.stderr.strip()[-2000:]}")
            half.rename(folder)
    return folder


def copy_of_the_project(folder: Path) -> Path:
    """Put the project into `folder` as an installation has it, with a virtual environment of the container's Python."""
    home = folder / "tksva_q"
    unwanted = shutil.ignore_patterns(".*", "var", "tests", "benchmarks", "faults", "docs", "__pycache__")
    shutil.copytree(ROOT, home, ignore=unwanted)
    shutil.copy(ROOT / ".envexample", home)
    bin_ = home / ".venv" / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "python").symlink_to("/usr/bin/python3")
    (home / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (home / ".venv" / "lib" / f"python{PYTHON}" / "site-packages").mkdir(parents=True)
    for path in (home, *home.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    return home


# --- a container ------------------------------------------------------------------------------------------------------


class Container:
    """A booted Debian with the project in /opt/tksva_q.

    Args:
        folder: an empty one, for what this container has of its own.
        binds: folders of this machine by where they are to be in the container.
    """

    def __init__(self, folder: Path, binds: dict[str, Path]) -> None:
        self._folder = folder
        self._console = folder / "console"
        site = f"{HOME}/.venv/lib/python{PYTHON}/site-packages"
        binds = {HOME: copy_of_the_project(folder)} | binds
        command = [*_AS_ROOT, "env", "SYSTEMD_NSPAWN_LOCK=0", _find("systemd-nspawn") or "", "--quiet", "--boot"]
        command += ["--register=no", "--keep-unit", "--volatile=overlay", f"--machine=tksva-{os.getpid()}"]
        command += [f"--directory={base_system()}", f"--bind-ro={packages()}:{site}"]
        command += [f"--bind={here}:{there}" for there, here in binds.items()]
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            self._leader = str(wait_for(self._find_leader, complaint=self._why))
            wait_for(
                lambda: self.run("systemctl", "is-system-running", check=False).strip() == "running",
                complaint=self._why,
            )
        except AssertionError as error:
            self.stop()
            raise CannotBoot(str(error)) from None

    def _why(self) -> str:
        return "the container does not boot:\n" + self._console.read_text(errors="replace")[-3000:]

    def _find_leader(self) -> int | None:
        """Return the pid, out here, of the container's first process."""
        if self._process.poll() is not None:
            raise AssertionError(self._why())
        found = psutil.Process(self._process.pid).children(recursive=True)
        return next((process.pid for process in found if process.name() == "systemd"), None)

    def run(self, *command: str, check: bool = True, seconds: float = PATIENCE) -> str:
        """Run a command in the container as root; return its output, that of errors included."""
        words = [*_AS_ROOT, "nsenter", "-t", self._leader, "-a", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        words += ["LANG=C.UTF-8", *command]
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def manage(self, *words: str, check: bool = True) -> str:
        """Run the administrator's command line."""
        return self.run(f"{HOME}/.venv/bin/python", f"{HOME}/manage.py", *words, check=check)

    def stop(self) -> None:
        """Switch the container off; what it wrote outside of the given folders is gone."""
        with contextlib.suppress(AttributeError, AssertionError, subprocess.TimeoutExpired):
            self.run("systemctl", "poweroff", "--force", check=False, seconds=10)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        if self._process.poll() is None:
            subprocess.run([*_AS_ROOT, "kill", "-KILL", str(self._process.pid)], check=False)
            self._process.wait(PATIENCE)
        _root("rm", "-rf", self._folder / "tksva_q")  # root's in parts: pytest could not


class Relay:
    """Lets the container reach a PostgreSQL that only its own user's processes can: by a socket folder and by TCP."""

    def __init__(self, server: str, folder: Path) -> None:
        self._server = server
        folder.chmod(0o755)
        path = folder / ".s.PGSQL.5432"
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(str(path))
        path.chmod(0o777)
        self._unix.listen()
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._tcp.getsockname()[1])
        for listener in (self._unix, self._tcp):
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._server)
            others = {client: server, server: client}
            while True:
                for side in select.select([client, server], [], [])[0]:
                    data = side.recv(1 << 16)
                    if not data:
                        return
                    others[side].sendall(data)

    def close(self) -> None:
        """Take no new connections."""
        self._unix.close()
        self._tcp.close()
