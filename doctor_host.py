"""What the queue stands on that is of this machine: the folder of files, the web server's group, the units.

    python doctor_host.py FILES_DIR GROUP

tries to write as whoever runs it; root has it run by the service's user, whose rights are the ones that count.
"""

import contextlib
import grp
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import disk
import install
import storage
from errors import StorageError
from findings import Finding
from settings import Settings
from words import size

#: Users' folders that are named in a finding.
NAMED = 5


@dataclass(frozen=True)
class Identity:
    """Whose rights are looked at."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]  # without its own


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that is of this machine."""
    who = service()
    yield folder(settings, who)
    yield web_server(settings, who)
    yield units(settings)


def service() -> Identity:
    """Return who the service is: for root the user of the unit, where there is one; otherwise whoever asks."""
    if os.geteuid() == 0:
        shown = _shown("tksva_q.service")
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(shown.get("User") or install.USER)
            groups = set(os.getgrouplist(user.pw_name, user.pw_gid)) - {user.pw_gid}
            for name in shown.get("SupplementaryGroups", "").split():
                with contextlib.suppress(StorageError):  # `web_server` says so
                    groups.add(storage.group_id(name))
            return Identity(user.pw_name, user.pw_uid, user.pw_gid, tuple(sorted(groups)))
    return Identity(_name(os.geteuid()), os.geteuid(), os.getegid(), tuple(os.getgroups()))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _shown(unit: str) -> dict[str, str]:
    """Return what systemd knows of a unit; nothing where there is no systemd."""
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return {}
    wanted = "LoadState,ActiveState,UnitFileState,NeedDaemonReload,User,SupplementaryGroups"
    asked = subprocess.run(
        ["systemctl", "show", unit, "-p", wanted],  # noqa: S607 -- wherever this system has it
        capture_output=True,
        text=True,
        check=False,
    )
    return dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)


# --- the folder -------------------------------------------------------------------------------------------------------


def folder(settings: Settings, who: Identity) -> Finding:
    """Look whether the service can write prepared files, for the group that is to read them."""
    files = settings.files_dir
    mine = who.uid == os.geteuid()
    problem = probe(files, settings.files_group) if mine else _probe_as(who, files, settings.files_group)
    if problem:
        return Finding("папка", False, problem)
    room = disk.room(files)
    if room.little:
        return Finding("папка", False, f"{files}: свободно {size(room.free)}: освободите место (manage.py purge)")
    return Finding("папка", True, f"{files}, пишет {who.name}, свободно {size(room.free)}")


def _probe_as(who: Identity, files: Path, group: str | None) -> str:
    """Have the service's user try it: its interpreter and its code are reached on the way."""
    try:
        tried = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), str(files), group or ""],
            user=who.uid,
            group=who.gid,
            extra_groups=list(who.groups),
            cwd="/",
            env={"LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        said = tried.stdout.strip()
        trouble = "" if said or not tried.returncode else tried.stderr.strip().rpartition("\n")[2]
    except OSError as error:
        said, trouble = "", str(error.strerror)
    if trouble:
        return f"пользователь {who.name} не может запустить {sys.executable} в {install.HERE}: {trouble}"
    return said


def probe(files: Path, group: str | None) -> str:
    """Try to write into the folder as the queue does; return what is wrong and what to do, or nothing."""
    me = _name(os.geteuid())
    remedy = f"sudo install -d -o {me} -g {group or me} -m {storage.FOLDER_MODE:o} {files}"
    if not files.is_dir():
        allowed = os.access(disk.existing(files), os.W_OK | os.X_OK)
        return "" if allowed else f"{files}: папки нет, и {me} её не создаст: {remedy}"
    try:
        with tempfile.TemporaryDirectory(prefix=".tksva_q-doctor-", dir=files) as scratch:
            handed = _hand_to_group(scratch, group)
    except PermissionError:
        return f"{files}: {me} не может сюда писать: {remedy}"
    except OSError as error:
        return f"{files}: {error.strerror}"
    if not handed:
        return f"{files}: {me} не состоит в группе {group}: sudo usermod -aG {group} {me} и перезапуск службы"
    foreign = [entry.name for entry in _user_folders(files) if not os.access(entry.path, os.W_OK | os.X_OK)]
    some = ", ".join(foreign[:NAMED]) + (" …" if len(foreign) > NAMED else "")
    return f"{files}: {me} не может писать в папки {some}: sudo python manage.py install" if foreign else ""


def _hand_to_group(scratch: str, group: str | None) -> bool:
    """Give a folder to the web server's group as `storage` does; False where only its members may."""
    try:
        os.chown(scratch, -1, storage.group_id(group))
        os.chmod(scratch, storage.FOLDER_MODE)
    except PermissionError:
        return False
    # Instead of an error, the kernel leaves the bit out.
    return not group or bool(os.stat(scratch).st_mode & stat.S_ISGID)


def _user_folders(files: Path) -> list[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(files))
    except OSError:
        return []
    return [entry for entry in entries if entry.name.isdecimal() and entry.is_dir(follow_symlinks=False)]


def web_server(settings: Settings, who: Identity) -> Finding:
    """Look whether the web server's group gets to the prepared files."""
    if settings.embedded and not settings.files_group:
        return Finding("веб-сервер", True, "не нужен: файлы отдаёт страница самой очереди")
    try:
        gid = storage.group_id(settings.files_group)
        name = settings.files_group or grp.getgrgid(who.gid).gr_name
    except (StorageError, KeyError) as error:
        return Finding("веб-сервер", False, str(error))
    gid = who.gid if gid < 0 else gid
    files = settings.files_dir
    if not files.is_dir():
        return Finding("веб-сервер", True, f"папки {files} ещё нет; её группой будет {name}")
    for path in reversed([files, *files.parents]):
        if not _may(path, gid, stat.S_IXOTH):
            return Finding("веб-сервер", False, f"группа {name} не пройдёт через {path}: {_open(path, gid, name, 'x')}")
    closed = [Path(entry.path) for entry in _user_folders(files) if not _may(Path(entry.path), gid, 5)]
    if closed:
        paths = " ".join(map(str, closed[:NAMED])) + (" …" if len(closed) > NAMED else "")
        remedy = f"sudo chgrp -R {name} {paths}; sudo chmod -R g+rX {paths}"
        return Finding("веб-сервер", False, f"группа {name} не читает папки пользователей: {remedy}")
    hint = "" if settings.files_group else " (FILES_GROUP не задан: веб-сервер должен в ней состоять)"
    return Finding("веб-сервер", True, f"читает группа {name}{hint}")


def _may(path: Path, gid: int, bits: int) -> bool:
    """Tell whether members of a group, who own nothing, have the rights `bits` (of others, as in 0o5)."""
    there = path.stat()
    return (there.st_mode >> (3 if there.st_gid == gid else 0)) & bits == bits


def _open(path: Path, gid: int, name: str, right: str) -> str:
    if path.stat().st_gid == gid:
        return f"sudo chmod g+{right} {path}"
    return f"sudo chgrp {name} {path}; sudo chmod g+{right} {path} (или chmod o+{right})"


# --- the units --------------------------------------------------------------------------------------------------------


def units(settings: Settings) -> Finding:
    """Look whether the units are installed as this code and these settings want them, and run."""
    if settings.embedded:
        return Finding("службы", True, "не нужны: встроенный PostgreSQL, запуск — python queue_manager.py")
    if not _shown("tksva_q.service"):
        return Finding("службы", True, "systemd здесь нет: запускайте python queue_manager.py своими средствами")
    problems = list(_unit_problems(settings))
    found = [f"{unit} (отключена)" if _is_off(_shown(unit)) else unit for unit in install.names()]
    return Finding("службы", not problems, "; ".join(problems) or ", ".join(found))


def _is_off(shown: dict[str, str]) -> bool:
    """Tell whether the administrator has disabled a unit: a machine of workers alone needs no daemon."""
    return shown.get("UnitFileState") == "disabled" and shown.get("ActiveState") == "inactive"


def _unit_problems(settings: Settings) -> Iterator[str]:
    user = _shown("tksva_q.service").get("User") or install.USER
    stale = [path.name for path, text in install.unit_files(settings, user).items() if not install.holds(path, text)]
    if stale:
        yield f"не поставлены или устарели {', '.join(stale)}: sudo python manage.py install --user {user}"
        return
    for unit in install.names():
        shown = _shown(unit)
        if shown.get("NeedDaemonReload") == "yes":
            yield "юниты изменены: sudo systemctl daemon-reload"
        if shown.get("ActiveState") != "active" and not _is_off(shown):
            yield f"{unit} не работает: sudo systemctl start {unit}, причина — journalctl -u {unit} -n 20"


if __name__ == "__main__":
    said = probe(Path(sys.argv[1]), sys.argv[2] or None)
    print(said)
    sys.exit(1 if said else 0)
