"""Names and folders: nothing is written or opened up that is not the queue's."""

from __future__ import annotations

import errno
import grp
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import storage
from errors import LostJob, StorageError, UserError
from partfile import PartFile
from storage import check_name, part_name, sweep, user_folder
from tests.folders import mode, tree, umask

# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a.csv",
        "Отчёт по станции (Тайшет) № 1 [2].xlsx",
        "'; drop table post; --.csv",
        "a..csv",
        "%s {} $HOME ~.csv",
        "-rf.csv",
        " a.csv",
        "я" * 125 + ".csv",
        "e\u0301.csv",
    ],
)
def test_names_as_people_write_them_are_good(name: str, tmp_path: Path) -> None:
    assert check_name(name) == name
    (tmp_path / name).write_bytes(b"")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "нет имени"),
        (5, "нет имени"),
        ("", "нет имени"),
        ("  ", "нет имени"),
        ("a/b.csv", "разделитель"),
        ("/etc/passwd", "разделитель"),
        ("..\\a.csv", "разделитель"),
        (".", "с точки"),
        ("..", "с точки"),
        (".a.csv", "с точки"),
        ("a\n.csv", "управляющий"),
        ("a\0.csv", "управляющий"),
        ("a\x7f.csv", "управляющий"),
        ("a\x85.csv", "управляющий"),
        ("a\ud83d.csv", "управляющий"),
        ("a" * 252 + ".csv", "длиннее 255 байт"),
        ("я" * 126 + ".csv", "длиннее 255 байт"),
    ],
)
def test_names_that_may_not_be_written_are_refused_with_the_reason(name: object, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_name(name)


@given(st.text(max_size=300))
def test_any_name_is_refused_or_is_a_plain_file_in_its_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    top = tmp_path_factory.getbasetemp() / "any name"
    with suppress(UserError):
        checked = check_name(name)
        with user_folder(top, 1) as folder:
            part = PartFile.create(folder, 1, 1)
            part.publish(checked)
            part.close()
        assert tree(top) == ["1", f"1/{name}"]
        assert storage.purge(top, 1, checked) == 0
    assert not top.exists() or tree(top) == ["1"]


@given(st.binary(max_size=300).map(os.fsdecode))
def test_whatever_bytes_a_name_comes_from_it_is_refused_or_a_string_of_its_own(name: str) -> None:
    with suppress(UserError):
        assert check_name(name).encode()


def test_a_part_file_has_a_name_that_cannot_be_asked_for() -> None:
    with pytest.raises(UserError):
        check_name(part_name(1, 1))


# --- groups -----------------------------------------------------------------------------------------------------------


def test_a_group_is_known_by_its_name_or_number() -> None:
    group = grp.getgrall()[-1]
    assert storage.group_id(group.gr_name) == storage.group_id(str(group.gr_gid)) == group.gr_gid


@pytest.mark.parametrize("none", [None, ""])
def test_no_group_is_the_processs_own(none: str | None) -> None:
    assert storage.group_id(none) == -1


def test_a_group_that_does_not_exist_is_named_in_the_error() -> None:
    with pytest.raises(StorageError, match="FILES_GROUP: there is no group 'nobody here'"):
        storage.group_id("nobody here")


# --- folders ----------------------------------------------------------------------------------------------------------


def test_folders_are_readable_by_the_group_whatever_the_umask(tmp_path: Path) -> None:
    files = tmp_path / "var" / "files"
    with umask(0o077), user_folder(files, 7) as folder:
        assert os.path.samestat(os.fstat(folder), (files / "7").stat())
    assert mode(files) == mode(files / "7") == 0o2750


def test_folders_belong_to_the_group_that_was_chosen(tmp_path: Path, another_group: int) -> None:
    with user_folder(tmp_path / "files", 7, another_group):
        pass
    assert {(tmp_path / "files").stat().st_gid, (tmp_path / "files" / "7").stat().st_gid} == {another_group}


@pytest.fixture
def another_group() -> int:
    """A group that this process may give files to, and is not its own where there is another one."""
    if os.geteuid() == 0:
        return 12345
    return next((group for group in os.getgroups() if group != os.getegid()), os.getegid())


def test_a_folder_that_is_there_already_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7").chmod(0o755)
    tmp_path.chmod(0o700)
    with user_folder(tmp_path, 7):
        pass
    assert (mode(tmp_path), mode(tmp_path / "7")) == (0o700, 0o755)


def test_a_folder_that_a_kill_left_half_made_is_finished(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir(0o700)
    with user_folder(tmp_path, 7):
        pass
    assert mode(tmp_path / "7") == 0o2750


def test_a_link_in_place_of_a_users_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "7").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="папка пользователя 7"), user_folder(tmp_path / "files", 7):
        raise AssertionError("it was opened")
    assert tree(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("target", ["nowhere", "."])
def test_a_link_to_nowhere_or_to_itself_is_refused_as_well(tmp_path: Path, target: str) -> None:
    (tmp_path / "7").symlink_to(target)
    with pytest.raises(UserError), user_folder(tmp_path, 7):
        raise AssertionError("it was opened")


def test_a_file_in_place_of_a_users_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "7").write_bytes(b"")
    with pytest.raises(UserError), user_folder(tmp_path, 7):
        raise AssertionError("it was opened")


def test_the_folder_of_all_files_may_be_a_link_of_the_administrators(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "files").symlink_to(tmp_path / "disk")
    with user_folder(tmp_path / "files", 7):
        pass
    assert tree(tmp_path / "disk") == ["7"]


def test_a_folder_that_cannot_be_made_is_a_fault_of_the_storage(tmp_path: Path) -> None:
    (tmp_path / "files").write_bytes(b"a file in the way")
    with pytest.raises(StorageError, match="folder of user 7: ") as caught, user_folder(tmp_path / "files", 7):
        raise AssertionError("it was opened")
    assert "\n" not in str(caught.value)


def test_a_group_that_may_not_be_given_is_a_fault_of_the_storage_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    tmp_path.chmod(0o755)
    before = set(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fchown", refuse)
        with pytest.raises(StorageError, match="Operation not permitted"), user_folder(tmp_path, 7, 5):
            raise AssertionError("it was opened")
    assert set(os.listdir("/proc/self/fd")) == before
    with user_folder(tmp_path, 7):
        pass
    assert mode(tmp_path / "7") == 0o2750


def test_no_descriptor_is_left_open_however_it_ends(tmp_path: Path) -> None:
    def descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    before = descriptors()
    (tmp_path / "8").write_bytes(b"")
    with user_folder(tmp_path, 7):
        pass
    with suppress(UserError), user_folder(tmp_path, 8):
        pass
    with suppress(LostJob), user_folder(tmp_path, 7):
        raise LostJob("…")
    storage.purge(tmp_path, 7, "a.csv")
    sweep(tmp_path, list)
    assert descriptors() == before


def test_what_the_operating_system_says_is_named_and_told_in_one_line() -> None:
    with pytest.raises(StorageError, match=r"^a\.csv: No space left on device$"), storage.faults("a.csv"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(StorageError, match=r"^a\.csv: odd$"), storage.faults("a.csv"):
        raise OSError("odd")
