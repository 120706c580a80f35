"""What the slots refuse, and what they remember."""

import pytest

from agent.errors import UnsafeToSwapError
from agent.update.slots import POINTER, Pointer, Slot, SlotStore, StagedFile, StagedSlot, read_pointer
from models.digest import Digest, digest_of
from models.errors import MalformedError, NoSpaceError
from tests.fakes.disk import FakeDisk

ONE, TWO = digest_of(b"one"), digest_of(b"two")
FILES = [StagedFile("release.json", 4, 1), StagedFile("model/visual.onnx", 6, 2)]


def filled(store: SlotStore, digest: Digest) -> StagedSlot:
    staging = store.stage(digest, FILES)
    for file, chunk, at, data in ((0, 0, 0, b"json"), (1, 0, 0, b"abc"), (1, 1, 3, b"def")):
        staging.write(file, chunk, at, data)
    return staging.complete()


def test_an_empty_device_has_nothing_live() -> None:
    assert SlotStore(FakeDisk()).pointer() == Pointer()


def test_the_first_release_goes_live_without_a_fallback() -> None:
    store = SlotStore(FakeDisk())
    pointer = store.flip(filled(store, ONE))
    assert (pointer.live, pointer.live_digest, pointer.fallback, pointer.trial) == (Slot.A, ONE, None, True)


def test_nothing_is_staged_while_a_trial_needs_both_slots() -> None:
    store = SlotStore(FakeDisk())
    store.flip(filled(store, ONE))
    with pytest.raises(UnsafeToSwapError):
        store.stage(TWO, FILES)


def test_the_live_slot_is_never_staged_into_nor_flipped_to() -> None:
    store = SlotStore(FakeDisk())
    staged = filled(store, ONE)
    store.flip(staged)
    store.commit()
    assert filled(store, TWO).slot is Slot.B
    with pytest.raises(UnsafeToSwapError):
        store.flip(staged)


def test_a_slot_that_misses_a_chunk_is_not_complete() -> None:
    staging = SlotStore(FakeDisk()).stage(ONE, FILES)
    staging.write(0, 0, 0, b"json")
    with pytest.raises(MalformedError, match="misses 2 chunks"):
        staging.complete()


def test_a_release_that_does_not_fit_is_refused_before_anything_is_fetched() -> None:
    disk = FakeDisk(capacity_bytes=1 << 20)
    with pytest.raises(NoSpaceError):
        SlotStore(disk).stage(ONE, FILES)
    assert disk.list("slots/a") == []


def test_returning_quarantines_and_leaves_the_old_release_live() -> None:
    store = SlotStore(FakeDisk())
    store.flip(filled(store, ONE))
    store.commit()
    store.flip(filled(store, TWO))
    pointer = store.go_back()
    assert (pointer.live_digest, pointer.fallback, pointer.trial) == (ONE, None, False)
    assert pointer.quarantined == (TWO,)


def test_a_boot_on_trial_is_counted_once() -> None:
    store = SlotStore(FakeDisk())
    store.flip(filled(store, ONE))
    for boot in ("x", "x", "y"):
        store.count_trial_boot(boot)
    assert store.pointer().trial_boots == 2


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"live":"c"}',
        b'{"live":"a"}',
        b'{"extra":1}',
        b'{"live":"a","live_digest":"sha256:0"}',
        b'{"live":"a","live_digest":"%s","fallback":"b","fallback_digest":"sha256:"}' % ONE.encode(),
    ],
)
def test_a_broken_pointer_is_an_error_and_can_be_set_aside(text: bytes) -> None:
    disk = FakeDisk()
    store = SlotStore(disk)
    disk.write_at(POINTER, 0, text)
    with pytest.raises(MalformedError):
        read_pointer(disk)
    assert store.set_aside_broken_pointer()
    assert store.pointer() == Pointer()


def test_a_journal_of_another_release_is_not_resumed() -> None:
    disk = FakeDisk()
    filled(SlotStore(disk), ONE)
    assert len(SlotStore(disk).stage(ONE, FILES).durable) == 3
    assert SlotStore(disk).stage(TWO, FILES).durable == set()
