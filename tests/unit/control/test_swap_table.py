"""The table of the change of release, read for what must never be in it."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from agent.control.swap import ROWS, SHOWN, Do, On, Step, next_row


def test_only_a_candidate_that_was_loaded_told_to_go_and_is_at_a_safe_moment_ever_drives() -> None:
    into = {pair for pair, row in ROWS.items() if Do.SWITCH in row.do}
    assert into == {(Step.GOING, On.SAFE)}
    assert {pair for pair, row in ROWS.items() if row.to is Step.DRIVING} == {(Step.GOING, On.SAFE)}
    assert {pair for pair, row in ROWS.items() if row.to is Step.GOING} == {
        (Step.READY, On.GO),
        (Step.GOING, On.DIED),
    }
    assert {on for (_, on), row in ROWS.items() if row.to is Step.READY} == {On.ADMITTED}


def test_whatever_ends_a_trial_but_keep_gives_the_wheel_back() -> None:
    ends = {
        on: row for (step, on), row in ROWS.items() if step is Step.DRIVING and row.to is not Step.DRIVING
    }
    assert set(ends) == {On.KEEP, On.DIED, On.BREACHED, On.REFUSED, On.LOST, On.RETURN, On.DROP}
    for on, row in ends.items():
        assert (row.do == (Do.SWITCH_BACK, Do.STOP_CANDIDATE)) == (on is not On.KEEP)


def test_the_old_worker_is_unloaded_only_by_keep() -> None:
    assert {pair for pair, row in ROWS.items() if Do.STOP_OTHER in row.do} == {(Step.DRIVING, On.KEEP)}


def test_a_pair_without_a_row_changes_nothing() -> None:
    for pair in set(product(Step, On)) - set(ROWS):
        assert next_row(*pair) == (pair[0], ())


def test_manage_is_told_of_every_step() -> None:
    assert set(SHOWN) == set(Step)


@given(st.lists(st.sampled_from(On), max_size=60))
def test_in_any_order_of_events_there_is_never_a_second_candidate_and_none_is_left_behind(
    events: list[On],
) -> None:
    step, candidates = Step.NONE, 0
    for on in events:
        row = next_row(step, on)
        for do in row.do:
            candidates += {Do.START: 1, Do.STOP_CANDIDATE: -1, Do.STOP_OTHER: -1}.get(do, 0)
        step = row.to
        assert candidates == (step in {Step.LOADING, Step.SHADOW, Step.READY, Step.GOING, Step.DRIVING})
