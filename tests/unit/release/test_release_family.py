"""Which family a checkpoint is of: read from its `config.json`, whole, and refused where it cannot be."""

from pathlib import Path

import pytest

from models.errors import UsageError
from models.release.family import UnknownFamilyError, family_of

KNOWN = '{"architecture":"roskva-reference"'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        KNOWN,
        KNOWN + ',"x":' + "[" * 200_000 + "]" * 200_000 + "}",
        KNOWN + "}" + " " * (1 << 21) + "and more",
    ],
    ids=["empty", "a list", "cut short", "deep", "longer than is read"],
)
def test_a_configuration_that_cannot_be_read_is_refused_by_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=str(tmp_path)):
        family_of(tmp_path)


def test_a_family_that_nothing_here_exports_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type":"alpamayo"}')
    with pytest.raises(UnknownFamilyError, match="alpamayo"):
        family_of(tmp_path)
