"""What became of every record that each boot offered to the journal: written, dropped by cause, forgotten, missing."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from turnout_server.journal import exposures, reading
from turnout_server.journal.boot import BOOTS, Boot
from turnout_server.journal.counters import Counters, counters_of
from turnout_server.journal.losses import BootLoss, Mark
from turnout_server.journal.schema import SEGMENTS
from turnout_server.vocabulary.exposure import Arm

RUNNING, CLEAN, UNCLEAN, UNKNOWN = "running", "clean", "unclean", "unknown"

_NAME = re.compile(r"(?P<instance>.+)-(?P<boot>[0-9a-f]{16})(?:-(?P<n>\d+)\.parquet)?")


class Segment(NamedTuple):
    """What one segment says of itself, and what is in it."""

    name: str
    boot: Boot
    n: int
    first_seq: int
    last_seq: int
    written: int
    """Rows when it was written."""
    forgotten: int
    """Rows removed since."""
    offered: int
    """Since the boot began, when it was finished."""
    dropped: Mapping[str, int]
    is_last: bool
    rows: int
    """In it now."""
    lowest: int | None
    """The lowest `seq` in it; None where it has no rows."""
    highest: int | None
    mark: Mark = Mark(None, None, 0, None)
    """What was lost until it was finished."""


class Account(NamedTuple):
    """One boot's balance."""

    instance: str
    boot: str
    state: str
    """`running`, `clean`, `unclean` (ended without closing), or `unknown` where its counters cannot be read."""
    segments: int
    offered: int
    written: int
    dropped: Mapping[str, int]
    """By cause, without zeros."""
    forgotten: int
    pending: int
    """Of a running boot: offered and not yet in a segment."""
    missing: int
    """Offered, and neither written nor dropped: lost with the process. At most so many."""
    gone: int
    """Rows of segments that were written and cannot be found or read."""
    problems: tuple[str, ...]
    """What is not in order, one line each."""
    marks: tuple[Mark, ...] = ()
    """What had been lost at each segment, in their order."""

    @property
    def loss(self) -> BootLoss:
        """What is lost, and what is known of it."""
        return BootLoss(self.marks, sum(self.dropped.values()) + self.missing + self.gone)

    @property
    def is_accounted(self) -> bool:
        """Whether nothing is missing or damaged. What was dropped and counted, or forgotten, is accounted for."""
        return not (self.missing or self.gone or self.problems)


def account(
    boot: Boot, counters: Counters | None, segments: Sequence[Segment], unreadable: Mapping[str, str]
) -> Account:
    """Return the balance of *boot*.

    Args:
        boot: which.
        counters: its counter file; None where that is not there or cannot be read.
        segments: its segments.
        unreadable: what is wrong with those that could not be read, by name.
    """
    segments = sorted(segments, key=lambda segment: segment.n)
    last = segments[-1] if segments else None
    in_segments = sum(segment.written for segment in segments)
    problems = [f"{name}: {problem}" for name, problem in sorted(unreadable.items())]
    if counters is not None:
        state = RUNNING if counters.is_running else CLEAN if counters.is_closed else UNCLEAN
        # A segment gets its name before it is counted, so a process can die with one segment more than counted.
        offered, written, dropped = counters.offered, max(counters.written, in_segments), counters.dropped
        finished = counters.segments
        if not counters.is_exact:
            problems.append("what it counted in its last twentieth of a second is not at hand: more may be missing")
    else:
        is_last = last is not None and last.is_last
        state = CLEAN if is_last else UNKNOWN
        offered, written, dropped = (last.offered, in_segments, last.dropped) if last else (0, 0, {})
        finished = 0
        if not is_last:
            problems.append(
                "its counter file is not there or cannot be read: what came after its last segment is unknown"
            )
    there = {segment.n for segment in segments} | {n for n in map(number_of, unreadable) if n is not None}
    absent = [n for n in range(max([finished, *(n + 1 for n in there)])) if n not in there]
    if absent:
        problems.append(f"missing segments: {ranges(absent)}")
    for segment in segments:
        problems.extend(f"{segment.name}: {problem}" for problem in _footer_problems(segment))
    problems.extend(_overlaps(segments))
    left = max(0, offered - written - sum(dropped.values()))
    return Account(
        instance=boot.instance,
        boot=boot.boot,
        state=state,
        segments=len(segments),
        offered=offered,
        written=written,
        dropped={cause: count for cause, count in dropped.items() if count},
        forgotten=sum(segment.forgotten for segment in segments),
        pending=left if state == RUNNING else 0,
        missing=0 if state == RUNNING else left,
        gone=max(0, written - in_segments) if absent or unreadable or state != RUNNING else 0,
        problems=tuple(problems),
        marks=tuple(segment.mark for segment in segments),
    )


def _footer_problems(segment: Segment) -> Iterable[str]:
    expected = segment.written - segment.forgotten
    if segment.rows != expected:
        yield f"{segment.rows} rows; its footer says {expected}"
    if segment.lowest is not None and segment.lowest < segment.first_seq:
        yield f"has seq {segment.lowest}; its footer begins at {segment.first_seq}"
    if segment.highest is not None and segment.highest > segment.last_seq:
        yield f"has seq {segment.highest}; its footer ends at {segment.last_seq}"
    named = _NAME.fullmatch(segment.name)
    if named is None or (Boot(named["instance"], named["boot"]), int(named["n"] or -1)) != (segment.boot, segment.n):
        yield f"its footer says {segment.boot.instance}-{segment.boot.boot}-{segment.n}"


def _overlaps(segments: Sequence[Segment]) -> Iterable[str]:
    before: Segment | None = None
    for segment in sorted((each for each in segments if each.written), key=lambda each: each.first_seq):
        if before is not None and segment.first_seq <= before.last_seq:
            yield f"{segment.name}: begins at seq {segment.first_seq}; {before.name} goes to {before.last_seq}"
        if before is None or segment.last_seq > before.last_seq:
            before = segment


def number_of(name: str) -> int | None:
    """Return the number in a segment's name; None for a name that is no segment's."""
    named = _NAME.fullmatch(name)
    return int(named["n"]) if named is not None and named["n"] is not None else None


def boot_of(name: str) -> Boot | None:
    """Return the boot in the name of a segment or of a counter file; None where it has none."""
    named = _NAME.fullmatch(name)
    return Boot(named["instance"], named["boot"]) if named is not None else None


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending *numbers* in short: `0-3, 7`."""
    parts: list[tuple[int, int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1] = (parts[-1][0], number)
        else:
            parts.append((number, number))
    return ", ".join(f"{low}-{high}" if low != high else f"{low}" for low, high in parts)


# ---------------------------------------------------------------- gathering


class Ledger(NamedTuple):
    """A journal's balance."""

    accounts: tuple[Account, ...]
    strangers: Mapping[str, str]
    """What is wrong with files that belong to no boot, by path."""

    @property
    def is_accounted(self) -> bool:
        """Whether nothing is missing or damaged anywhere."""
        return not self.strangers and all(each.is_accounted for each in self.accounts)


def accounts(journal: Path, *, is_thorough: bool = False) -> Ledger:
    """Return the balance of every boot that left a trace in *journal*, in the order of their starts.

    Args:
        journal: its directory.
        is_thorough: read every byte of every segment; otherwise only footers and the columns `seq` and `ts`.
    """
    for _ in range(reading.ATTEMPTS):
        files = sorted(journal.glob(SEGMENTS))
        stamps = reading.stamps_of(files)
        ledger = _accounts(journal, is_thorough=is_thorough)
        # A segment that `forget` replaces between its footer and its rows looks damaged, and is not.
        if ledger.is_accounted or reading.stamps_of(files) == stamps:
            break
    return ledger


def _accounts(journal: Path, *, is_thorough: bool) -> Ledger:
    # Counters first: a segment that they count is then there when the segments are listed.
    counters, strangers = _counters(journal)
    segments: dict[Boot, list[Segment]] = defaultdict(list)
    unreadable: dict[Boot, dict[str, str]] = defaultdict(dict)
    found = reading.segments(journal)
    bad = dict(found.unreadable)
    for file, read in _read(found.readable, is_thorough).items():
        if isinstance(read, Segment):
            segments[boot_of(file.name) or read.boot].append(read)
        else:
            bad[file] = read
    for file, problem in bad.items():
        boot = boot_of(file.name)
        if boot is None:
            strangers[str(file.relative_to(journal))] = problem
        else:
            unreadable[boot][file.name] = problem
    boots = sorted({*counters, *segments, *unreadable}, key=lambda boot: (boot.boot, boot.instance))
    return Ledger(
        tuple(account(boot, counters.get(boot), segments[boot], unreadable[boot]) for boot in boots), strangers
    )


def _read(files: Sequence[Path], is_thorough: bool) -> dict[Path, Segment | str]:
    """Return what each of *files* says, or what is wrong with it, without those that vanish."""
    read: dict[Path, Segment | str] = {}
    with reading.unlocked() as connection:
        if not is_thorough:
            try:
                return _read_together(connection, files)
            except duckdb.Error:
                pass  # one of them is damaged or has gone: which one shows when they are read one by one
        for file in files:
            try:
                problem = reading.problem_of(connection, file) if is_thorough else None
                read |= {file: problem} if problem is not None else _read_together(connection, [file])
            except FileNotFoundError:
                continue
            except (OSError, duckdb.Error) as error:
                if file.exists():
                    read[file] = reading.first_line(error)
    return read


def _read_together(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> dict[Path, Segment | str]:
    if not files:
        return {}
    said = footers(connection, files)
    found = connection.execute(
        "SELECT filename, count(*), min(seq), max(seq), epoch_us(min(ts)), epoch_us(max(ts))"
        " FROM read_parquet($1, filename = true, hive_partitioning = false, union_by_name = true) GROUP BY filename",
        [[reading.pattern(file) for file in files]],
    ).fetchall()
    rows = {name: tuple(counts) for name, *counts in found}
    read: dict[Path, Segment | str] = {}
    for file in files:
        found_in = _Rows(*rows.get(str(file.absolute()), (0, None, None, None, None)))
        try:
            read[file] = _segment(file.name, said[file], found_in)
        except ValueError as error:
            read[file] = str(error)
    return read


class _Rows(NamedTuple):
    """What is in a segment."""

    rows: int
    lowest: int | None
    highest: int | None
    first_us: int | None
    last_us: int | None


def _segment(name: str, said: Mapping[str, str], found: _Rows) -> Segment:
    try:
        dropped = {str(cause): int(count) for cause, count in json.loads(said["dropped"]).items()}
        return Segment(
            name=name,
            boot=Boot(said["instance"], said["boot"]),
            n=int(said["segment"]),
            first_seq=int(said["first_seq"]),
            last_seq=int(said["last_seq"]),
            written=int(said["written"]),
            forgotten=int(said.get("forgotten") or 0),
            offered=int(said["offered"]),
            dropped=dropped,
            is_last=said.get("closed") == "true",
            rows=found.rows,
            lowest=found.lowest,
            highest=found.highest,
            mark=Mark(found.first_us, found.last_us, sum(dropped.values()), _exposures(said)),
        )
    except KeyError as error:
        raise ValueError(f"its footer has no turnout.{error.args[0]}") from error
    except (AttributeError, TypeError) as error:
        raise ValueError("its footer's turnout.dropped is no object of numbers") from error


def _exposures(said: Mapping[str, str]) -> Mapping[Arm, int] | None:
    text = said.get("dropped_exposures")
    try:
        return None if text is None else exposures.read(text)
    except ValueError as error:
        raise ValueError(f"its footer's turnout.dropped_exposures: {error}") from error


def footers(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> dict[Path, dict[str, str]]:
    """Return what the footers of *files* say, by name without `turnout.`."""
    found = connection.execute(
        "SELECT file_name, decode(key), decode(value) FROM parquet_kv_metadata($1)"
        " WHERE starts_with(decode(key), 'turnout.')",
        [[reading.pattern(file) for file in files]],
    ).fetchall()
    by_name: dict[str, dict[str, str]] = defaultdict(dict)
    for name, key, value in found:
        by_name[name][key.removeprefix("turnout.")] = value
    return {file: by_name[str(file.absolute())] for file in files}


def _counters(journal: Path) -> tuple[dict[Boot, Counters], dict[str, str]]:
    found: dict[Boot, Counters] = {}
    strangers: dict[str, str] = {}
    for file in sorted(journal.glob(f"{BOOTS}/[!.]*")):  # what begins with a dot is being made
        if file.name.startswith("."):  # being made at this moment, or its maker died of that
            continue
        boot = boot_of(file.name)
        try:
            counters = counters_of(file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            strangers[str(file.relative_to(journal))] = getattr(error, "strerror", None) or str(error)
            continue
        if boot is None:
            strangers[str(file.relative_to(journal))] = "its name is no boot's"
        else:
            found[boot] = counters
    return found, strangers
