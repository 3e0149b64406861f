"""What attackers send is what it should be: frames, on new streams each time."""

from __future__ import annotations

import pytest

from benchmarks import frames
from benchmarks.attack.wire import ATTACKS, OPENING, Attack, numbered

STREAMS = [(name, attack) for name, attack in ATTACKS.items() if attack.anew]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_consists_of_whole_frames(attack: Attack) -> None:
    said = (OPENING + attack.once + attack.again)[len(frames.PREFACE) :]
    *_, (_, end) = frames.whole(said)
    assert end == len(said)


@pytest.mark.parametrize(("name", "attack"), STREAMS)
def test_what_begins_anew_begins_new_streams(name: str, attack: Attack) -> None:
    first, following = numbered(attack.again, 601)
    second, _ = numbered(attack.again, following)
    begun = [one.stream for one, _ in frames.whole(first + second) if one.kind == frames.HEADERS]
    assert begun == list(range(601, 601 + 2 * len(begun), 2))
    others = {one.stream for one, _ in frames.whole(first) if one.kind != frames.HEADERS}
    assert others <= set(begun)
