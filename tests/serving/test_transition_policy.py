"""What the policy decides, for every state of things."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnout_server.serving.state import State
from turnout_server.serving.transition_policy import Load, Snapshot, Unload, next_action
from turnout_server.vocabulary.versions import VersionKey

ONE, TWO, THREE = (VersionKey("price", number) for number in (1, 2, 3))
WISHED = {state: Snapshot(state, aspired=True) for state in State}
UNWISHED = {state: Snapshot(state, aspired=False) for state in State}

keys = st.builds(VersionKey, st.sampled_from(["a", "b"]), st.integers(1, 4))
snapshots = st.dictionaries(
    keys, st.builds(Snapshot, st.sampled_from(State), st.booleans(), st.booleans(), st.booleans()), max_size=8
)


def test_what_is_wished_for_is_loaded_newest_first() -> None:
    assert next_action({ONE: WISHED[State.STORED], TWO: WISHED[State.STORED]}, free_loaders=1) == Load(TWO)


def test_nothing_is_loaded_without_a_free_loader() -> None:
    assert next_action({ONE: WISHED[State.STORED]}, free_loaders=0) is None


def test_the_old_version_stays_until_the_new_one_is_available() -> None:
    for state in (State.STORED, State.LOADING, State.FAILED, State.UNLOADING):
        assert next_action({ONE: UNWISHED[State.AVAILABLE], TWO: WISHED[state]}, free_loaders=0) is None
    assert next_action({ONE: UNWISHED[State.AVAILABLE], TWO: WISHED[State.AVAILABLE]}, 0) == Unload(ONE)


def test_the_old_version_stays_while_any_wished_one_is_on_its_way() -> None:
    table = {ONE: UNWISHED[State.AVAILABLE], TWO: WISHED[State.AVAILABLE], THREE: WISHED[State.LOADING]}
    assert next_action(table, 0) is None


def test_a_version_that_failed_does_not_keep_the_old_one_when_another_serves() -> None:
    table = {ONE: UNWISHED[State.AVAILABLE], TWO: WISHED[State.AVAILABLE], THREE: WISHED[State.FAILED]}
    assert next_action(table, 0) == Unload(ONE)


def test_what_nobody_wishes_for_goes_when_the_model_is_not_wished_for() -> None:
    assert next_action({ONE: UNWISHED[State.AVAILABLE]}, 0) == Unload(ONE)


def test_what_is_in_use_stays() -> None:
    in_use = Snapshot(State.AVAILABLE, aspired=False, in_use=True)
    assert next_action({ONE: in_use, TWO: WISHED[State.AVAILABLE]}, 1) is None


def test_a_failed_version_is_tried_again_when_it_is_due() -> None:
    assert next_action({ONE: Snapshot(State.FAILED, aspired=True, retry_due=False)}, 1) is None
    assert next_action({ONE: Snapshot(State.FAILED, aspired=True, retry_due=True)}, 1) == Load(ONE)


@given(snapshots, st.integers(0, 3))
def test_an_action_always_fits_the_state_it_is_for(table: dict[VersionKey, Snapshot], free: int) -> None:
    match next_action(table, free):
        case Load(key):
            assert free > 0
            assert table[key].aspired
            assert table[key].state in (State.STORED, State.FAILED)
        case Unload(key):
            assert not table[key].aspired
            assert not table[key].in_use
            assert table[key].state in (State.AVAILABLE, State.FAILED)


@given(snapshots, st.integers(0, 3))
def test_the_last_available_version_never_goes_while_one_is_wished_for(
    table: dict[VersionKey, Snapshot], free: int
) -> None:
    action = next_action(table, free)
    if isinstance(action, Unload) and table[action.key].state is State.AVAILABLE:
        wished = [one for key, one in table.items() if key.model == action.key.model and one.aspired]
        assert not wished or any(one.state is State.AVAILABLE for one in wished)
