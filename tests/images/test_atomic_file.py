"""A file is replaced as a whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from septum.atomic_file import remove_leftovers, replace_file
from septum.errors import SaveError


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replace_file(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failure", [ValueError("mine"), KeyboardInterrupt()])
def test_any_failure_leaves_what_stood_there_and_no_temporary_file(
    tmp_path: Path, failure: BaseException
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(failure)), replace_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_a_save_error_with_path_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(SaveError, match=r"a\.txt.*No space left"), replace_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_missing_folder_is_a_save_error(tmp_path: Path) -> None:
    with (
        pytest.raises(SaveError, match="No such file"),
        replace_file(tmp_path / "none" / "a.txt") as temporary,
    ):
        temporary.write_text("x")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="is a folder"), replace_file(tmp_path) as temporary:
        temporary.write_text("x")
    assert tmp_path.is_dir()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target = tmp_path / "real.txt"
    target.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    with replace_file(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a[1]-*.txt"
    left = []
    for _ in range(2):
        with replace_file(path) as temporary:
            temporary.write_text("x")
            left.append(temporary)
    for leftover in left:
        leftover.write_text("half")
    others = [
        tmp_path / n for n in ("a[1]-*.txt", ".a[1]-*.txt.0123.txt", ".a1-b.txt.01234567.txt")
    ]
    for other in others:
        other.write_text("kept")
    remove_leftovers(path)
    assert names(tmp_path) == sorted(other.name for other in others)
