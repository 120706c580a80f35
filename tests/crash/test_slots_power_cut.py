"""The power is cut after every single operation of every change to the slots; the device must come up well."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from agent.update.slots import Pointer, Slot, SlotStore, StagedFile, StagedSlot, read_pointer
from models.digest import Digest, digest_of
from tests.fakes.disk import FakeDisk, PowerCutError

CHUNK = 8
SEEDS = (None, 1, 2, 3)


def content_of(digest: Digest) -> dict[str, bytes]:
    """The files of an imaginary release."""
    return {
        "release.json": digest.encode(),
        "model/visual.onnx": bytes(range(30)) + digest.encode()[:10],
        "model.oms.sig": b"signature of " + digest.encode()[:9],
    }


OLD, NEW, NEXT = (digest_of(text) for text in (b"old", b"new", b"next"))


def staged_files(digest: Digest) -> list[StagedFile]:
    return [StagedFile(path, len(data), -(-len(data) // CHUNK)) for path, data in content_of(digest).items()]


def stage(disk: FakeDisk, digest: Digest, promised: set[tuple[int, int]] | None = None) -> StagedSlot:
    """Fill the free slot, two chunks a sync; `promised` collects what was called durable."""
    staging = SlotStore(disk).stage(digest, staged_files(digest))
    for file, data in enumerate(content_of(digest).values()):
        for chunk in range(-(-len(data) // CHUNK)):
            if (file, chunk) not in staging.durable:
                at = chunk * CHUNK
                staging.write(file, chunk, at, data[at : at + CHUNK])
            if staging.undurable >= 2:
                staging.make_durable()
                if promised is not None:
                    promised |= staging.durable
    return staging.complete()


def holds(disk: FakeDisk, slot: Slot, digest: Digest) -> bool:
    return all(
        disk.exists(f"{slot.directory}/{path}") and disk.read(f"{slot.directory}/{path}") == data
        for path, data in content_of(digest).items()
    )


def device_with_old() -> FakeDisk:
    """OLD is live and past its trial."""
    disk = FakeDisk()
    SlotStore(disk).flip(stage(disk, OLD))
    SlotStore(disk).commit()
    return disk


def device_on_trial() -> FakeDisk:
    """NEW is live on trial, OLD is the fallback."""
    disk = device_with_old()
    SlotStore(disk).flip(stage(disk, NEW))
    return disk


def device_with_staged() -> FakeDisk:
    disk = device_with_old()
    stage(disk, NEW)
    return disk


def device_with_fallback() -> FakeDisk:
    disk = device_on_trial()
    SlotStore(disk).commit()
    return disk


CHANGES: dict[str, tuple[Callable[[], FakeDisk], Callable[[FakeDisk], object], set[Digest]]] = {
    "stage": (device_with_old, lambda disk: stage(disk, NEW), {OLD}),
    "stage over a fallback": (device_with_fallback, lambda disk: stage(disk, NEXT), {NEW}),
    "stage over another": (device_with_staged, lambda disk: stage(disk, NEXT), {OLD}),
    "flip": (device_with_staged, lambda disk: SlotStore(disk).flip(StagedSlot(Slot.B, NEW)), {OLD, NEW}),
    "commit": (device_on_trial, lambda disk: SlotStore(disk).commit(), {NEW}),
    "return": (device_on_trial, lambda disk: SlotStore(disk).go_back(), {OLD, NEW}),
    "count a boot": (device_on_trial, lambda disk: SlotStore(disk).count_trial_boot("boot"), {NEW}),
    "quarantine": (device_with_staged, lambda disk: SlotStore(disk).quarantine(NEW), {OLD}),
    "discard": (device_with_staged, lambda disk: SlotStore(disk).discard_free(), {OLD}),
}


def cuts(
    prepare: Callable[[], FakeDisk], change: Callable[[FakeDisk], object]
) -> Iterator[tuple[int, FakeDisk]]:
    """The rebooted disk for a cut after every operation of `change`, and each way to lose what was not synced."""
    whole = prepare()
    before = whole.operations
    change(whole)
    for n in range(whole.operations - before + 1):
        for seed in SEEDS:
            disk = prepare()
            disk.cut_after(n)
            with suppress(PowerCutError):
                change(disk)
            disk.reboot(seed)
            yield n, disk


def check_one_good_slot(disk: FakeDisk, allowed: set[Digest]) -> Pointer:
    pointer = read_pointer(disk)
    assert pointer.live is not None
    assert pointer.live_digest in allowed
    assert holds(disk, pointer.live, Digest(pointer.live_digest))
    if pointer.fallback is not None:
        assert pointer.fallback != pointer.live
        assert holds(disk, pointer.fallback, Digest(pointer.fallback_digest))
    return pointer


@pytest.mark.parametrize("name", CHANGES)
def test_a_power_cut_leaves_exactly_one_live_slot(name: str) -> None:
    prepare, change, allowed = CHANGES[name]
    for _, disk in cuts(prepare, change):
        check_one_good_slot(disk, allowed)


@pytest.mark.parametrize("name", ["stage", "stage over a fallback", "stage over another"])
def test_staging_goes_on_after_any_cut_and_ends_whole(name: str) -> None:
    prepare, change, allowed = CHANGES[name]
    for _, disk in cuts(prepare, change):
        staged = change(disk)
        assert isinstance(staged, StagedSlot)
        assert holds(disk, staged.slot, staged.digest)
        disk.reboot()
        assert holds(disk, staged.slot, staged.digest)
        check_one_good_slot(disk, allowed)


def test_a_journal_never_vouches_for_a_chunk_that_is_not_there() -> None:
    for _, disk in cuts(device_with_old, lambda disk: stage(disk, NEW)):
        staging = SlotStore(disk).stage(NEW, staged_files(NEW))
        contents = list(content_of(NEW).values())
        for file, chunk in staging.durable:
            at = chunk * CHUNK
            assert disk.read_range(staging.name_of(file), at, CHUNK) == contents[file][at : at + CHUNK]


def test_chunks_called_durable_are_not_fetched_again() -> None:
    whole = device_with_old()
    before = whole.operations
    stage(whole, NEW)
    for n in range(whole.operations - before + 1):
        for seed in SEEDS:
            disk, promised = device_with_old(), set[tuple[int, int]]()
            disk.cut_after(n)
            with suppress(PowerCutError):
                stage(disk, NEW, promised)
            disk.reboot(seed)
            assert promised <= SlotStore(disk).stage(NEW, staged_files(NEW)).durable


def device_half_filled() -> FakeDisk:
    """OLD is live, NEW is half there, and that half is durable."""
    disk = device_with_old()
    staging = SlotStore(disk).stage(NEW, staged_files(NEW))
    contents = list(content_of(NEW).values())
    for file, chunk in ((0, 0), (0, 3), (1, 1)):
        at = chunk * CHUNK
        staging.write(file, chunk, at, contents[file][at : at + CHUNK])
    staging.make_durable()
    return disk


def test_what_was_durable_before_one_cut_is_still_there_after_the_next() -> None:
    for _, disk in cuts(device_half_filled, lambda disk: stage(disk, NEW)):
        assert SlotStore(disk).stage(NEW, staged_files(NEW)).durable >= {(0, 0), (0, 3), (1, 1)}


def device_half_discarded() -> FakeDisk:
    disk = device_with_staged()
    disk.cut_after(3)
    with suppress(PowerCutError):
        SlotStore(disk).discard_free()
    disk.reboot(7)
    return disk


@pytest.mark.parametrize("prepare", [device_half_filled, device_half_discarded])
def test_a_second_cut_while_a_slot_is_filled_again_breaks_nothing(prepare: Callable[[], FakeDisk]) -> None:
    contents = list(content_of(NEW).values())
    for _, disk in cuts(prepare, lambda disk: stage(disk, NEW)):
        staging = SlotStore(disk).stage(NEW, staged_files(NEW))
        for file, chunk in staging.durable:
            at = chunk * CHUNK
            assert disk.read_range(staging.name_of(file), at, CHUNK) == contents[file][at : at + CHUNK]


def test_what_a_cut_left_of_a_pointer_does_not_end_up_in_the_next_one() -> None:
    for _, disk in cuts(device_with_staged, lambda disk: SlotStore(disk).flip(StagedSlot(Slot.B, NEW))):
        pointer = SlotStore(disk).commit()
        assert read_pointer(disk) == pointer


def test_a_durable_promise_is_not_lost() -> None:
    """What a call has promised when it returns holds after the worst loss of power."""
    for name, (prepare, change, _) in CHANGES.items():
        disk = prepare()
        change(disk)
        promised = read_pointer(disk)
        disk.reboot()
        assert read_pointer(disk) == promised, name


def test_quarantine_survives_every_later_change() -> None:
    disk = device_on_trial()
    SlotStore(disk).go_back()
    for _, cut in cuts(_returned_and_staged, lambda d: SlotStore(d).flip(StagedSlot(Slot.B, NEXT))):
        assert NEW in read_pointer(cut).quarantined


def _returned_and_staged() -> FakeDisk:
    disk = device_on_trial()
    SlotStore(disk).go_back()
    stage(disk, NEXT)
    return disk
