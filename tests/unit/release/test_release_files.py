"""The table that names a set of files, and scanning."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.digest import digest_of
from models.errors import HostileNameError, MalformedError
from models.release.files import FileEntry, chunk_digests, scan, table_bytes, table_digest
from models.release.names import NameRule


def _entry(path: str, data: bytes) -> FileEntry:
    return FileEntry(path, len(data), digest_of(data))


def test_the_table_has_one_line_a_file_sorted_by_path() -> None:
    empty = digest_of(b"").removeprefix("sha256:")
    assert table_bytes([_entry("b", b""), _entry("a/c", b"")]) == f"0 {empty} a/c\n0 {empty} b\n".encode()


def test_the_digest_of_a_table_does_not_depend_on_the_order_of_its_rows() -> None:
    rows = [_entry(name, name.encode()) for name in "abc"]
    assert table_digest(rows) == table_digest(reversed(rows))


def test_the_digest_of_a_table_binds_names_as_well_as_content() -> None:
    assert table_digest([_entry("weights.safetensors", b"x")]) != table_digest([_entry("zzz.bin", b"x")])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_scan_finds_every_file_whatever_the_number_of_workers(tmp_path: Path, workers: int) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    contents = {f"deep/er/{number}.bin": bytes([number]) * number * 1000 for number in range(20)}
    contents["top"] = b"t" * (3 << 20)
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    assert scan(tmp_path, workers) == tuple(_entry(name, contents[name]) for name in sorted(contents))


def test_a_checkpoint_may_hold_the_names_that_training_frameworks_write(tmp_path: Path) -> None:
    for name in (".metadata", "__0_0.distcp", "common.pt"):
        (tmp_path / name).write_bytes(b"x")
    assert [entry.path for entry in scan(tmp_path, rule=NameRule.CHECKPOINT)] == [
        ".metadata",
        "__0_0.distcp",
        "common.pt",
    ]
    with pytest.raises(HostileNameError):
        scan(tmp_path)


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=70))
def test_chunks_together_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, chunk_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("chunks") / "file"
    path.write_bytes(data)
    pieces = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    assert chunk_digests(path, chunk_bytes) == tuple(digest_of(piece) for piece in pieces)


def test_chunks_of_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(MalformedError):
        chunk_digests(tmp_path / "file", 0)
