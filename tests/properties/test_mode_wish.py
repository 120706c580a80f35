"""Whatever vehicle, people and command do, and in whatever order: what a wish for a power mode never does."""

from hypothesis import given
from hypothesis import strategies as st

from agent.power.modes import ModeAnswer
from agent.power.wish import PARKED_NS, PAUSES_NS, QUIET_NS, ModeWish, Seen, Step, turned

_NAMES = ("MAXN", "120W", "90W")
# Weighted so that most stories come as far as asking.
TURNS = st.lists(
    st.tuples(
        st.sampled_from([100_000_000, 1_000_000_000, 6_000_000_000, 100_000_000_000]),
        st.sampled_from([True] * 14 + [False]),
        st.sampled_from(["120W"] * 18 + ["", "90W", "45W"]),
        st.sampled_from(["MAXN"] * 18 + ["120W", ""]),
        st.sampled_from([None, None, None, *ModeAnswer]),
        st.sampled_from(["", "", "no"]),
    ),
    max_size=60,
)
Turns = list[tuple[int, bool, str, str, ModeAnswer | None, str]]


def _drive(turns: Turns) -> list[tuple[Seen, ModeWish]]:
    now, wish, story = 0, ModeWish(), []
    for dt_ns, parked, wished, in_force, answer, failure in turns:
        now += dt_ns
        modes = _NAMES if in_force else ()
        seen = Seen(now, wished, in_force, modes, parked, answer, failure)
        wish = turned(wish, seen)
        story.append((seen, wish))
    return story


def _asks(story: list[tuple[Seen, ModeWish]]) -> list[int]:
    steps = [Step.NONE, *(wish.step for _, wish in story)]
    return [k for k, step in enumerate(steps[1:]) if step is Step.ASKED and steps[k] is not Step.ASKED]


@given(TURNS)
def test_a_device_is_asked_only_after_it_was_parked_without_a_break_and_undecided(turns: Turns) -> None:
    story = _drive(turns)
    for k in _asks(story):
        now = story[k][0].mono_ns
        before = [seen for seen, _ in story[: k + 1]]
        moving = [seen.mono_ns for seen in before if not seen.parked]
        assert now - max(moving, default=0) >= PARKED_NS + QUIET_NS
        held = [wish.holds for seen, wish in story[: k + 1] if seen.mono_ns > now - QUIET_NS]
        assert all(held)


@given(TURNS)
def test_only_what_is_wished_and_there_and_not_in_force_is_asked_for_and_with_pauses(turns: Turns) -> None:
    story = _drive(turns)
    asked: dict[str, int] = {}
    for k in _asks(story):
        seen, wish = story[k]
        assert wish.name == seen.wished
        assert wish.name in seen.modes
        assert wish.name != seen.in_force
        others = any(s.wished != wish.name for s, _ in story[:k] if s.mono_ns > asked.get(wish.name, 0))
        if wish.name in asked and not others:
            assert seen.mono_ns - asked[wish.name] >= PAUSES_NS[0]
        asked[wish.name] = seen.mono_ns


@given(TURNS)
def test_decisions_go_on_as_soon_as_the_command_has_answered_or_the_vehicle_moves_before(
    turns: Turns,
) -> None:
    before = Step.NONE
    for seen, wish in _drive(turns):
        answered = seen.answer is not None or bool(seen.failure)
        if wish.holds:
            assert not answered if before is Step.ASKED else seen.parked
        before = wish.step
