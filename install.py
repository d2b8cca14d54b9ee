"""The service on a machine with systemd: its user, its folders, `.env`, the units. What is there already stays.

The units are copied as they stand. What this installation has of its own (user, folders, the web server's group)
goes into a drop-in beside them, so that `systemctl cat` shows both.
"""

import grp
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import settings as settings_module
import storage
from errors import QueueError, StorageError
from partfile import FILE_MODE
from settings import Settings

HERE = Path(__file__).resolve().parent
#: Where administrators' units are.
SYSTEM = Path("/etc/systemd/system")
USER = "tksva_q"
#: A template: which of its instances run on this machine is the administrator's choice.
WORKER = "tksva_q_worker@.service"
HOME = Path("/var/lib/tksva_q")
#: Settings hold passwords: the service's group reads them, others do not.
ENV_MODE = 0o640
_MODE = 0o7777


@dataclass(frozen=True)
class Step:
    """Something that an installation needs, done only where it is missing."""

    text: str  # as a command of the shell, or as near to one as it goes
    missing: Callable[[], bool]
    do: Callable[[], object]


def install(user: str, *, dry_run: bool) -> None:
    """Bring the machine to where `systemctl start tksva_q` works, and print what was done.

    Args:
        user: name of the service's user, made where missing.
        dry_run: only print.

    Raises:
        QueueError: not root, or `.env` does not name a PostgreSQL yet.
        SettingsError: `.env` is wrong.
    """
    if not dry_run and os.geteuid() != 0:
        raise QueueError("нужны права root: sudo python manage.py install (или --dry-run)")
    os.chdir(HERE)  # the service's folder: relative paths count from there
    env = HERE / ".env"
    _take([*_user_steps(user), *_env_steps(env, user)], dry_run=dry_run)
    settings = settings_module.load(env)
    if settings.embedded and not dry_run:
        raise QueueError(f"впишите PSQL_* в {env} и запустите снова: службе нужен свой PostgreSQL")
    _take([*_folder_steps(settings, user), *_unit_steps(settings, user)], dry_run=dry_run)
    print("всё на месте; дальше: python manage.py doctor, systemctl restart " + " ".join(names()))


def unit_files(settings: Settings, user: str) -> dict[Path, str]:
    """Return the files that systemd needs, by path."""
    files = {}
    for unit in [*names(), *([WORKER] if settings.broker_url else [])]:
        files[SYSTEM / unit] = (HERE / unit).read_text(encoding="utf-8")
        files[SYSTEM / f"{unit}.d" / "install.conf"] = _drop_in(unit, settings, user)
    return files


def names() -> list[str]:
    """Return the units of this installation."""
    return ["tksva_q.service", *(["tksva_q_web.service"] if (HERE / "web").is_dir() else [])]


def _drop_in(unit: str, settings: Settings, user: str) -> str:
    command = {"tksva_q_web.service": "-m web", WORKER: "broker_worker.py"}.get(unit, "queue_manager.py")
    folders = [settings.files_dir, settings.var_dir, *([settings.log_file.parent] if settings.log_file else [])]
    lines = [
        "# Written by `manage.py install` from .env",
        "[Service]",
        f"User={user}",
        f"Group={own_group(user)}",
        f"WorkingDirectory={_escaped(HERE)}",
        "ExecStart=",
        f"ExecStart={_quoted(Path(sys.executable))} {command}",
        "ReadWritePaths=" + " ".join(_quoted(folder, "-") for folder in folders),
    ]
    if unit != "tksva_q_web.service":
        lines.append("SupplementaryGroups=")
        if settings.files_group:
            lines.append(f"SupplementaryGroups={settings.files_group}")
    if any(_is_under(folder, "/home", "/root") for folder in (HERE, Path(sys.executable), *folders)):
        lines.append("ProtectHome=read-only")
    if _is_under(Path(settings.psql_host), "/tmp", "/var/tmp"):  # noqa: S108 -- where some keep the server's socket
        lines.append("PrivateTmp=no")
    return "\n".join(lines) + "\n"


def _is_under(path: Path, *tops: str) -> bool:
    return any(path.is_relative_to(top) for top in tops)


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def _quoted(path: Path, prefix: str = "") -> str:
    """Return a path as an item of a list in a unit, see systemd.syntax(7)."""
    text = prefix + _escaped(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if any(sign in text for sign in " \t'\"\\;") else text


# --- steps ------------------------------------------------------------------------------------------------------------


def _take(steps: list[Step], *, dry_run: bool) -> None:
    for step in steps:
        if step.missing():
            print(step.text)
            if not dry_run:
                step.do()


def _user_steps(user: str) -> Iterator[Step]:
    command = ["useradd", "--system", "--user-group", "--home-dir", str(HOME), "--shell", "/usr/sbin/nologin", user]
    yield Step(shlex.join(command), lambda: not _has_user(user), lambda: _run(command))


def _has_user(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _is_in(user: str, group: str) -> bool:
    return _has_user(user) and storage.group_id(group) in os.getgrouplist(user, pwd.getpwnam(user).pw_gid)


def own_group(user: str) -> str:
    """Return the name of a user's own group, as it is or as it will be made."""
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name if _has_user(user) else user


def _env_steps(env: Path, user: str) -> Iterator[Step]:
    sample = HERE / ".envexample"

    def write() -> None:
        text = sample.read_text(encoding="utf-8").replace("\nVAR_DIR=var\n", f"\nVAR_DIR={HOME}\n")
        env.write_text(text, encoding="utf-8")

    yield Step(f"cp {shlex.quote(str(sample))} {shlex.quote(str(env))}", lambda: not env.exists(), write)
    # The owner stays: whoever edits the file now goes on editing it.
    yield _ownership(env, None, own_group(user), ENV_MODE)


def _folder_steps(settings: Settings, user: str) -> Iterator[Step]:
    files, group = settings.files_dir, settings.files_group or own_group(user)
    join = ["usermod", "--append", "--groups", group, user]
    # The unit gives the group to the service; this gives it to whoever runs manage.py in the service's name.
    yield Step(shlex.join(join), lambda: not _is_in(user, group), lambda: _run(join))
    yield _folder(settings.var_dir)
    yield _ownership(settings.var_dir, user, own_group(user), 0o755)  # the web server passes through to the files
    yield _folder(files)
    yield _ownership(files, user, group, storage.FOLDER_MODE)

    def give() -> None:
        uid, gid = pwd.getpwnam(user).pw_uid, storage.group_id(group)
        for folder in _foreign(files, user):
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, gid, follow_symlinks=False)
                if not path.is_symlink():
                    path.chmod(storage.FOLDER_MODE if path.is_dir() else FILE_MODE)

    users = f"{shlex.quote(str(files))}/<номера пользователей>"
    text = f"chown -R {user}:{group} {users}; chmod -R u=rwX,g=rXs,o= {users}"
    yield Step(text, lambda: bool(_foreign(files, user)), give)


def _folder(path: Path) -> Step:
    command = f"mkdir -p {shlex.quote(str(path))}"
    return Step(command, lambda: not path.is_dir(), lambda: path.mkdir(parents=True, mode=0o755))


def _foreign(files: Path, user: str) -> list[Path]:
    """Return the users' folders that an older queue, run by somebody else, has left."""
    if not _has_user(user) or not files.is_dir():
        return []
    uid = pwd.getpwnam(user).pw_uid
    return [
        Path(entry.path)
        for entry in os.scandir(files)
        if entry.name.isdecimal()
        and entry.is_dir(follow_symlinks=False)
        and entry.stat(follow_symlinks=False).st_uid != uid
    ]


def _ownership(path: Path, user: str | None, group: str, mode: int) -> Step:
    def wanted() -> tuple[int, int, int]:
        uid = pwd.getpwnam(user).pw_uid if user else path.stat().st_uid
        return uid, storage.group_id(group), mode

    def wrong() -> bool:
        if not path.exists() or (user and not _has_user(user)):
            return True
        there = path.stat()
        try:
            return (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode) & _MODE) != wanted()
        except (KeyError, StorageError):
            return True

    def change() -> None:
        uid, gid, _ = wanted()
        os.chown(path, uid, gid)
        os.chmod(path, mode)

    name = shlex.quote(str(path))
    return Step(f"chown {user or ''}:{group} {name}; chmod {mode:o} {name}", wrong, change)


def _unit_steps(settings: Settings, user: str) -> Iterator[Step]:
    files = unit_files(settings, user)
    # One that has been here before is the administrator's: he may have disabled it.
    new = [unit for unit in names() if not (SYSTEM / unit).exists()]
    changed = [path for path, text in files.items() if not holds(path, text)]
    for path in changed:
        yield Step(f"запись {path}", lambda: True, lambda path=path: _write(path, files[path]))  # type: ignore[misc]
    if shutil.which("systemctl") is None:
        raise QueueError("здесь нет systemd: запускайте python queue_manager.py своими средствами")
    reload = ["systemctl", "daemon-reload"]
    yield Step(shlex.join(reload), lambda: bool(changed), lambda: _run(reload))
    enable = ["systemctl", "enable", *new]
    yield Step(shlex.join(enable), lambda: bool(new), lambda: _run(enable))


def holds(path: Path, text: str) -> bool:
    """Tell whether a file has just this text."""
    try:
        return path.read_text(encoding="utf-8") == text
    except OSError:
        return False


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise QueueError(f"{shlex.join(command)}: {' '.join(done.stderr.split()) or done.returncode}")
