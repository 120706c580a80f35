"""One suite for the `Disk` port: the fake that crash tests trust, and the real one."""

from pathlib import Path

import pytest

from agent.adapters.files import FileDisk
from agent.ports import Disk
from models.errors import HostileNameError, NoSpaceError
from tests.fakes.disk import FakeDisk


@pytest.fixture(params=["fake", "real"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return FakeDisk() if request.param == "fake" else FileDisk(tmp_path / "disk")


def test_what_is_written_in_place_reads_back(disk: Disk) -> None:
    disk.make_directory("a/b")
    disk.write_at("a/b/f", 4, b"56")
    disk.write_at("a/b/f", 0, b"1234")
    assert disk.read("a/b/f") == b"123456"
    assert disk.read_range("a/b/f", 2, 3) == b"345"
    assert disk.read_range("a/b/f", 5, 100) == b"6"
    assert disk.size("a/b/f") == 6


def test_a_write_beyond_the_end_leaves_zeros_between(disk: Disk) -> None:
    disk.write_at("f", 3, b"x")
    assert disk.read("f") == b"\0\0\0x"


def test_appends_come_one_after_the_other(disk: Disk) -> None:
    disk.append("f", b"one")
    disk.append("f", b"two")
    disk.sync("f")
    assert disk.read("f") == b"onetwo"


def test_a_rename_replaces_its_target_and_frees_its_source(disk: Disk) -> None:
    disk.write_at("old", 0, b"old and longer")
    disk.write_at("new", 0, b"new")
    disk.rename("new", "old")
    disk.sync_directory("")
    assert disk.read("old") == b"new"
    assert not disk.exists("new")


def test_removing_what_is_absent_is_fine(disk: Disk) -> None:
    disk.remove("nothing")
    disk.remove_tree("nothing")
    assert disk.list("nothing") == []


def test_a_tree_goes_with_all_below_it_and_its_neighbours_stay(disk: Disk) -> None:
    disk.make_directory("a/inner")
    disk.make_directory("ab")
    for name in ("a/1", "a/inner/2", "ab/3"):
        disk.write_at(name, 0, b"x")
    disk.remove_tree("a")
    assert disk.list("") == ["ab"]
    assert disk.list("ab") == ["3"]


def test_listing_names_files_and_directories_in_order(disk: Disk) -> None:
    disk.make_directory("d/z")
    disk.write_at("d/b", 0, b"")
    disk.write_at("d/a", 0, b"1")
    assert disk.list("d") == ["a", "b", "z"]
    assert disk.exists("d/z")
    assert disk.exists("d/b")


def test_reserved_room_is_taken_and_reads_as_zeros(disk: Disk) -> None:
    disk.reserve("f", 10_000)
    assert disk.size("f") == 10_000
    assert disk.read_range("f", 9_990, 20) == bytes(10)
    disk.write_at("f", 0, b"data")
    assert disk.size("f") == 10_000


def test_room_that_is_not_there_is_refused_before_anything_is_written(disk: Disk) -> None:
    with pytest.raises(NoSpaceError):
        disk.reserve("f", disk.free_bytes() + (1 << 44))


def test_what_does_not_exist_is_said_so(disk: Disk) -> None:
    for call in (disk.read, disk.size, disk.sync, disk.sync_directory):
        with pytest.raises(FileNotFoundError):
            call("absent")
    with pytest.raises(FileNotFoundError):
        disk.write_at("no/such/directory", 0, b"x")
    with pytest.raises(FileNotFoundError):
        disk.rename("absent", "other")


@pytest.mark.parametrize("name", ["../f", "a/../../f", "/etc/f", "a//f", "./f"])
def test_no_name_leaves_the_root(disk: Disk, name: str) -> None:
    with pytest.raises(HostileNameError):
        disk.write_at(name, 0, b"x")


def test_the_fake_forgets_what_was_not_synced() -> None:
    disk = FakeDisk()
    disk.write_at("kept", 0, b"synced")
    disk.sync("kept")
    disk.sync_directory("")
    disk.write_at("kept", 0, b"SYNCED")
    disk.write_at("content-only", 0, b"x")
    disk.sync("content-only")  # its name was never made durable
    disk.reboot()
    assert disk.read("kept") == b"synced"
    assert disk.list("") == ["kept"]


def test_a_planted_link_is_removed_with_its_tree_and_what_it_points_at_stays(tmp_path: Path) -> None:
    disk, outside = FileDisk(tmp_path / "disk"), tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    for target in (outside, tmp_path / "nowhere"):
        (disk.root / "slot").symlink_to(target)
        disk.remove_tree("slot")
        assert disk.list("") == []
    assert (outside / "kept").exists()
