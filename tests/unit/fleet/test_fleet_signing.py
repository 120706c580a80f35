"""What is damaged on the server's disk is named, stays as it is, and holds no other device up."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.adapters.signing import RepositorySigner
from models.errors import MetadataError
from models.trust.image import ImageRepository
from models.trust.keyset import init_development_keys

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def signer(tmp_path: Path) -> RepositorySigner:
    ImageRepository.init(tmp_path / "repo", init_development_keys(tmp_path / "keys"))
    return RepositorySigner(tmp_path / "repo", tmp_path / "state", tmp_path / "keys")


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x00\xff"])
def test_damaged_metadata_of_one_device_is_named_and_not_replaced(
    tmp_path: Path, signer: RepositorySigner, damage: bytes
) -> None:
    signer.refresh("thor-1", NOW)
    file = tmp_path / "state/director/thor-1/metadata/timestamp.json"
    file.write_bytes(damage)
    with pytest.raises(MetadataError, match="thor-1 is damaged"):
        signer.refresh("thor-1", NOW)
    assert file.read_bytes() == damage
    signer.refresh("thor-2", NOW)


def test_a_damaged_image_repository_is_named(tmp_path: Path, signer: RepositorySigner) -> None:
    (tmp_path / "repo/image/metadata/timestamp.json").write_bytes(b"")
    with pytest.raises(MetadataError, match="Image metadata is damaged"):
        signer.refresh_image(NOW)
