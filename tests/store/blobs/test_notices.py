"""Where nothing is heard nothing has happened; where something might go unheard, nothing counts as quiet."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout_server.store.blobs import notices as module
from turnout_server.store.blobs.notices import Notices

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nobody tells of changes")


@pytest.fixture
def outer(tmp_path: Path) -> Path:
    """A directory with two in it."""
    for name in "ab":
        (tmp_path / "outer" / name / "1").mkdir(parents=True)
        (tmp_path / "outer" / name / "labels").write_text("{}")
    return tmp_path / "outer"


def listening(outer: Path) -> Notices:
    notices = Notices(outer, "labels")
    look(notices, outer)
    return notices


def look(notices: Notices, outer: Path) -> None:
    notices.begin()
    with os.scandir(outer) as entries:
        for entry in entries:
            notices.add(entry)
    notices.complete()


def edit(path: Path) -> None:
    with path.open("r+") as file:
        file.write("[]")


def replace(path: Path) -> None:
    path.with_suffix(".new").write_text("[]")
    path.with_suffix(".new").rename(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is edited": lambda outer: edit(outer / "a/labels"),
    "a file is replaced": lambda outer: replace(outer / "b/labels"),
    "a file is touched": lambda outer: os.utime(outer / "a/labels", (1e9, 1e9)),
    "a file comes": lambda outer: (outer / "a/suspended").touch(),
    "a file goes": lambda outer: (outer / "a/labels").unlink(),
    "a folder comes": lambda outer: (outer / "b/2").mkdir(),
    "a folder goes": lambda outer: (outer / "b/1").rmdir(),
    "another model comes": lambda outer: (outer / "c").mkdir(),
    "a model goes": lambda outer: (outer / "b").rename(outer.parent / "b"),
    "all go": lambda outer: outer.rename(outer.parent / "away"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_heard_once(outer: Path, change: Callable[[Path], object]) -> None:
    notices = listening(outer)
    assert notices.are_none()
    change(outer)
    assert not notices.are_none()


def test_what_has_been_heard_and_looked_at_is_over(outer: Path) -> None:
    notices = listening(outer)
    edit(outer / "a/labels")
    assert not notices.are_none()
    look(notices, outer)
    assert notices.are_none()


def test_a_change_while_others_are_looked_at_is_heard(outer: Path) -> None:
    notices = Notices(outer, "labels")
    notices.begin()
    with os.scandir(outer) as entries:
        for entry in entries:
            notices.add(entry)
            edit(Path(entry, "labels"))
    notices.complete()
    assert not notices.are_none()


def test_who_has_not_looked_at_all_knows_nothing(outer: Path) -> None:
    notices = Notices(outer, "labels")
    assert not notices.are_none()
    notices.begin()
    assert not notices.are_none()


def test_another_directory_in_the_outer_ones_place_is_not_quiet(outer: Path) -> None:
    """It comes without a word to the one that is listened to."""
    link, other = outer.parent / "link", outer.parent / "other"
    link.symlink_to(outer)
    other.mkdir()
    notices = listening(link)
    assert notices.are_none()
    (outer.parent / "new").symlink_to(other)
    (outer.parent / "new").rename(link)
    assert not notices.are_none()
    look(notices, link)
    assert notices.are_none()


def test_a_file_that_is_edited_elsewhere_is_not_heard_and_nothing_is_quiet(outer: Path) -> None:
    (outer / "a/labels").rename(outer.parent / "labels")
    (outer / "a/labels").symlink_to(outer.parent / "labels")
    assert not listening(outer).are_none()


def test_a_file_with_a_second_name_may_be_edited_by_that_and_nothing_is_quiet(outer: Path) -> None:
    """As in a copy of a store that shares its files."""
    (outer.parent / "twin").hardlink_to(outer / "a/labels")
    assert not listening(outer).are_none()


def test_what_is_no_longer_in_the_outer_ones_place_is_listened_to_no_longer(outer: Path) -> None:
    """The kernel tells of no end where a link leads elsewhere, and has only so many to listen to."""
    link = outer.parent / "link"
    link.symlink_to(outer)
    notices = listening(link)
    shutil.copytree(outer, outer.parent / "other")
    (outer.parent / "new").symlink_to(outer.parent / "other")
    (outer.parent / "new").rename(link)
    look(notices, link)
    listened_to = Path(f"/proc/self/fdinfo/{notices._descriptor}").read_text().count("inotify wd")
    assert listened_to == 3
    edit(outer / "a/labels")
    assert notices.are_none()


def test_a_link_among_the_folders_leads_nowhere(outer: Path) -> None:
    (outer / "link").symlink_to("nowhere")
    assert listening(outer).are_none()


def test_a_file_system_that_others_can_reach_is_never_quiet(outer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCAL", frozenset())
    assert not listening(outer).are_none()


def test_where_there_is_no_directory_yet_one_that_comes_is_listened_to(tmp_path: Path) -> None:
    notices = Notices(tmp_path / "outer", "labels")
    notices.begin()
    notices.complete()
    assert not notices.are_none()
    (tmp_path / "outer").mkdir()
    look(notices, tmp_path / "outer")
    assert notices.are_none()


class Refusing:
    """The kernel, which listens to no more directories."""

    def __init__(self) -> None:
        self.asked = 0

    def __getattr__(self, name: str) -> object:
        return getattr(module.ctypes.CDLL(None), name)

    def inotify_add_watch(self, *of: object) -> int:
        self.asked += 1
        module.ctypes.set_errno(errno.ENOSPC)
        return -1


def test_where_the_kernel_listens_to_no_more_it_is_not_asked_again(
    outer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it listened to before is given back."""
    notices = listening(outer)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    kernel = Refusing()
    monkeypatch.setattr(module, "_libc", kernel)
    look(notices, outer)
    assert not notices.are_none()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before - 1
    look(notices, outer)
    assert kernel.asked == 1
