"""Virtual time: the same order whatever the machine does."""

import pytest

from bench.turns import Bell, Program, VirtualTime

_S = 1_000_000_000


def sleeper(virtual: VirtualTime, told: list[str], name: str, *naps_ns: int) -> Program:
    """A program that tells each of its naps when it is over."""

    def body(_: Program) -> int:
        start_ns = virtual.mono_ns()
        for nap_ns in naps_ns:
            virtual.sleep_until(start_ns + nap_ns)
            told.append(f"{name} {nap_ns}")
        return 7

    return virtual.start(body)


def test_what_is_due_first_goes_first_and_at_one_time_what_was_arranged_first() -> None:
    told: list[str] = []
    with VirtualTime() as virtual:
        start_ns = virtual.mono_ns()
        virtual.every(2, lambda due_ns: told.append(f"step {due_ns - start_ns}"), start_ns + 2)
        first = sleeper(virtual, told, "a", 3, 4)
        sleeper(virtual, told, "b", 1, 4)
        virtual.run_until(start_ns + 5)
    assert told == ["b 1", "step 2", "a 3", "b 4", "step 4", "a 4"]
    assert first.poll() == 7


def test_a_program_that_is_killed_ends_where_it_sleeps_and_whoever_killed_it_goes_on() -> None:
    told: list[str] = []
    with VirtualTime() as virtual:
        victim = sleeper(virtual, told, "victim", 1, 10 * _S)

        def killer(_: Program) -> int:
            virtual.sleep_until(virtual.mono_ns() + _S)
            victim.kill()
            told.append(f"killed {victim.poll()} {victim.wait()}")
            virtual.sleep_until(virtual.mono_ns() + _S)
            told.append("on")
            return 0

        virtual.start(killer)
        virtual.run_until(virtual.mono_ns() + 60 * _S)
    assert told == ["victim 1", "killed -9 -9", "on"]


@pytest.mark.parametrize(("rings_after_ns", "woken_after_ns"), [(3, 3), (8, 5)])
def test_a_bell_wakes_who_waits_for_it_and_patience_does_too(
    rings_after_ns: int, woken_after_ns: int
) -> None:
    woken: list[int] = []
    with VirtualTime() as virtual:
        bell, start_ns = Bell(virtual), virtual.mono_ns()

        def waiter(_: Program) -> int:
            bell.wait(start_ns + 5)
            woken.append(virtual.mono_ns() - start_ns)
            virtual.sleep_until(start_ns + 20)
            woken.append(virtual.mono_ns() - start_ns)
            return 0

        virtual.start(waiter)
        virtual.at(start_ns + rings_after_ns, bell.ring)
        virtual.run_until(start_ns + 30)
    assert woken == [woken_after_ns, 20]


def test_an_error_of_a_program_is_told_to_whoever_runs_the_time() -> None:
    with VirtualTime() as virtual:

        def broken(_: Program) -> int:
            raise ValueError("as the test asked")

        virtual.start(broken)
        with pytest.raises(ValueError, match="as the test asked"):
            virtual.run_until(virtual.mono_ns())


def test_a_step_is_taken_no_more_once_it_was_ended() -> None:
    taken: list[int] = []
    with VirtualTime() as virtual:
        steps = virtual.every(_S, taken.append)
        virtual.run_until(virtual.mono_ns() + 2 * _S)
        steps.kill()
        virtual.run_until(virtual.mono_ns() + 5 * _S)
    assert len(taken) == 3
    assert (steps.poll(), steps.wait()) == (-9, -9)
