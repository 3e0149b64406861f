"""Who changed what: no change is lost, whoever dies, and what is changed behind Turnout's back shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from tests.store.blobs.memory import MemoryBlobs
from tests.store.interleaving import Interleaving, Killed
from turnout_server.store.audit import LARGEST_ENTRY, LONGEST, Audit, By, Change, Entry, Noted, digest, told
from turnout_server.store.layout import ROUTES_AUDIT, model_audit
from turnout_server.store.manifest import Manifest
from turnout_server.store.store import BlobStore
from turnout_server.vocabulary.errors import StaleWriteError, StoreError, StoreReadOnlyError

ADA, BOB = By("ada@laptop", "turnout routes apply"), By("bob@build", "turnout label")
Add = Callable[..., Manifest]


def entry(before: str, after: str, who: str = "ada") -> Entry:
    """A change between contents that are called by one letter."""
    return Entry(
        what="routes", action="set", at="2026-11-29T00:00:00Z", who=who, before=name(before), after=name(after)
    )


def name(letter: str) -> str | None:
    """The digest of a content; None for none."""
    return digest(letter.encode()) if letter else None


def history(present: str, *entries: tuple[str, str, bool]) -> list[str]:
    """What is told of entries (before, after, done): `>` where Turnout did it, `~` where it did not."""
    noted = [Noted(number, entry(before, after), done) for number, (before, after, done) in enumerate(entries)]
    letters = {name(letter): letter for letter in ("", "a", "b", "c", "d")}
    return [
        f"{letters[one.before]}{'~' if one.entry is None else '>'}{letters[one.after]}"
        for one in told(noted, name(present))
    ]


@pytest.mark.parametrize(
    ("present", "entries", "expected"),
    [
        ("", [], []),
        ("a", [], []),
        ("b", [("", "a", True), ("a", "b", True)], ["a>b", ">a"]),
        ("c", [("", "a", True), ("a", "b", True)], ["b~c", "a>b", ">a"]),
        ("", [("", "a", True)], ["a~", ">a"]),
        ("c", [("", "a", True), ("b", "c", True)], ["b>c", "a~b", ">a"]),
        # Whoever died after the change: it is theirs all the same.
        ("b", [("", "a", True), ("a", "b", False)], ["a>b", ">a"]),
        ("c", [("", "a", True), ("a", "b", False), ("b", "c", True)], ["b>c", "a>b", ">a"]),
        ("c", [("", "a", False), ("a", "b", False), ("b", "c", False)], ["b>c", "a>b", ">a"]),
        # Whoever died before it, or was overtaken: nothing came of it.
        ("a", [("", "a", True), ("a", "b", False)], [">a"]),
        ("c", [("", "a", True), ("a", "b", False)], ["a~c", ">a"]),
        ("c", [("", "a", True), ("a", "b", False), ("a", "c", True)], ["a>c", ">a"]),
        ("b", [("", "a", True), ("a", "b", True), ("a", "b", False)], ["a>b", ">a"]),
        ("b", [("", "a", True), ("a", "b", False), ("a", "b", True)], ["a>b", ">a"]),
        # There and back.
        ("a", [("", "a", True), ("a", "b", True), ("b", "a", True)], ["b>a", "a>b", ">a"]),
    ],
)
def test_the_chain_of_digests_tells_what_came_about(
    present: str, entries: list[tuple[str, str, bool]], expected: list[str]
) -> None:
    assert history(present, *entries) == expected


def test_a_table_has_a_history_with_its_contents(store: BlobStore) -> None:
    first = store.write_routes("routes: {}\n", by=ADA)
    second = store.write_routes("routes: {}  # again\n", by=BOB)
    changes = store.routes_changes()
    assert [(one.before, one.after) for one in changes] == [(first, second), (None, first)]
    assert [one.entry.who for one in changes if one.entry] == ["bob@build", "ada@laptop"]
    assert store.audit.content(first) == b"routes: {}\n"


def test_what_changes_nothing_has_no_entry(store: BlobStore, add: Add) -> None:
    store.write_routes("routes: {}\n", by=ADA)
    store.write_routes("routes: {}\n", by=ADA)
    assert len(store.audit.entries(ROUTES_AUDIT)) == 1


def test_a_table_edited_by_hand_is_not_lost_when_turnout_replaces_it(root: Path, store: BlobStore) -> None:
    store.write_routes("routes: {}\n", by=ADA)
    (root / "routes.yaml").write_text("routes: {}  # by hand\n")
    (outside, _) = store.routes_changes()
    assert (outside.entry, outside.after) == (None, digest(b"routes: {}  # by hand\n"))
    store.write_routes("routes: {}  # mended\n", by=BOB)
    changes = store.routes_changes()
    assert [one.entry and one.entry.who for one in changes] == ["bob@build", None, "ada@laptop"]
    assert store.audit.content(digest(b"routes: {}  # by hand\n")) == b"routes: {}  # by hand\n"


def test_labels_have_a_history_a_model(store: BlobStore, add: Add) -> None:
    add(labels=["champion"], by=ADA)
    add("ranking", labels=["champion"])
    add(by=BOB)
    store.set_label("price", "champion", 2, by=BOB)
    store.set_label("price", "champion", None, by=ADA)
    told_of = [(one.entry.who, one.entry.action) for one in store.label_changes("price") if one.entry]
    assert told_of == [
        ("ada@laptop", "champion removed"),
        ("bob@build", "champion -> 2"),
        ("ada@laptop", "champion -> 1"),
    ]
    actions = [one.entry.action for one in store.audit.entries(model_audit("price")) if one.entry.what == "version"]
    assert actions == ["version 1 published", "version 2 published"]


def test_suspending_is_noted_once(store: BlobStore, add: Add) -> None:
    add()
    assert [store.suspend("price", ADA), store.suspend("price", BOB), store.resume("price", BOB)] == [True, False, True]
    noted = [one.entry for one in store.audit.entries(model_audit("price")) if one.entry.what == "suspended"]
    assert [(one.action, one.who) for one in noted] == [("suspended", "ada@laptop"), ("resumed", "bob@build")]


def test_without_an_audit_nothing_is_changed(root: Path, store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_routes("routes: {}\n", by=ADA)
    put = store.blobs.put_if_absent

    def refuse(key: str, content: bytes) -> bool:
        if key.startswith("audit/routes"):
            raise StoreReadOnlyError("cannot write")
        return put(key, content)

    monkeypatch.setattr(store.blobs, "put_if_absent", refuse)
    with pytest.raises(StoreReadOnlyError):
        store.write_routes("routes: {}  # again\n", by=ADA)
    assert store.routes_text() == "routes: {}\n"


def test_what_is_no_entry_is_left_out(root: Path, store: BlobStore) -> None:
    store.write_routes("routes: {}\n", by=ADA)
    folder = root / ROUTES_AUDIT
    (folder / "000000000002.json").write_text("no JSON")
    (folder / "000000000003.json").write_bytes(b" " * (LARGEST_ENTRY + 1))
    (folder / "000000000004.json").mkdir()
    (folder / "5.json").write_text("{}")
    (folder / "000000000006.done").write_text("")
    assert [one.number for one in store.audit.entries(ROUTES_AUDIT)] == [1]
    store.write_routes("routes: {}  # again\n", by=ADA)
    assert len(store.routes_changes()) == 2


def test_what_was_announced_and_not_ended_is_under_way_for_a_day(store: BlobStore) -> None:
    now = datetime.now(UTC)
    store.write_routes("routes: {}\n", by=ADA)
    keys = [store.audit.announce(ROUTES_AUDIT, "routes", "replaced", ADA, None, text) for text in (b"a", b"b", b"c")]
    assert store.audit.under_way(ROUTES_AUDIT, "routes", now) == (b"a", b"b", b"c")
    store.audit.confirm(keys[0])
    store.audit.withdraw(keys[1])
    assert store.audit.under_way(ROUTES_AUDIT, "routes", now) == (b"c",)
    assert store.audit.under_way(ROUTES_AUDIT, "labels", now) == ()
    assert store.audit.under_way(ROUTES_AUDIT, "routes", now + LONGEST + timedelta(minutes=1)) == ()


def test_what_is_under_way_and_cannot_be_read_is_told(root: Path, store: BlobStore) -> None:
    store.audit.announce(ROUTES_AUDIT, "routes", "replaced", ADA, None, b"a")
    (root / "audit/content" / digest(b"a")).write_text("b")
    with pytest.raises(StoreError, match=r"000000000001\.json announces what cannot be read"):
        store.audit.under_way(ROUTES_AUDIT, "routes", datetime.now(UTC))


def test_what_was_withdrawn_is_not_told_and_its_number_not_used_again(store: BlobStore) -> None:
    store.audit.withdraw(store.audit.announce(ROUTES_AUDIT, "routes", "replaced", ADA, None, b"a"))
    assert store.audit.entries(ROUTES_AUDIT) == ()
    assert store.audit.announce(ROUTES_AUDIT, "routes", "replaced", ADA, None, b"a").endswith("/000000000002")


def test_only_the_newest_are_read(store: BlobStore) -> None:
    for number in range(5):
        store.write_routes(f"routes: {{}}  # {number}\n", by=ADA)
    assert [one.number for one in store.audit.entries(ROUTES_AUDIT, most=2)] == [4, 5]


def test_a_content_that_is_not_what_it_was_is_none(root: Path, store: BlobStore) -> None:
    first = store.write_routes("routes: {}\n", by=ADA)
    (root / "audit/content" / first).write_text("routes: {}  # forged\n")
    assert store.audit.content(first) is None
    assert store.audit.content("../../routes.yaml") is None


def test_what_people_are_called_cannot_steer_a_terminal_nor_grow(store: BlobStore) -> None:
    store.write_routes("routes: {}\n", by=By("\x1b[31mada\ud800" + "a" * 1000, "turnout"))
    (noted,) = store.audit.entries(ROUTES_AUDIT)
    assert noted.entry.who.startswith(" [31mada aaa")
    assert len(noted.entry.who) == 300


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("deaths", [0, 3])
def test_whoever_wins_and_whoever_dies_the_history_is_whole(seed: int, deaths: int) -> None:
    """Six at once change one table, and some die anywhere: every change that came about has its author."""
    race = Interleaving(Random(seed), lambda: None, deaths)
    blobs = MemoryBlobs(race.step)
    store = BlobStore(blobs)
    store.write_routes("start", by=ADA)

    def change(who: int) -> None:
        store.write_routes(f"by {who}", by=By(f"user-{who}"))

    outcomes = race.run([lambda who=who: change(who) for who in range(6)])
    assert all(outcome is None or isinstance(outcome, Killed | StaleWriteError) for outcome in outcomes)
    changes = store.routes_changes()
    present = store.routes_text()
    assert present is not None
    assert _is_a_chain(changes, digest(present.encode()))
    contents = [store.audit.content(one.after) for one in changes if one.after]
    assert [one.entry.who for one in changes if one.entry][:-1] == [
        f"user-{content.decode()[3:]}" for content in contents[:-1] if content
    ]
    done = {f"user-{who}" for who, outcome in enumerate(outcomes) if outcome is None}
    assert done <= {one.entry.who for one in changes if one.entry}


def _is_a_chain(changes: tuple[Change, ...], present: str) -> bool:
    links = [present, *(one.before for one in changes)]
    return [one.after for one in changes] == links[:-1] and links[-1] is None and all(one.entry for one in changes)


def test_an_audit_of_nothing_is_empty() -> None:
    blobs = MemoryBlobs()
    assert Audit(blobs, blobs).entries(ROUTES_AUDIT) == ()
