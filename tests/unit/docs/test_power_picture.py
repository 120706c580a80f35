"""The picture of a drive that the documents show is one: whole, linked, and honest about what it shows."""

import xml.etree.ElementTree as ET
from pathlib import Path

from bench.picture import STRIPS

_DOCS = Path(__file__).parents[3] / "docs"
_PICTURE, _PAGE = _DOCS / "power-drive.svg", _DOCS / "how-watts-are-held.md"


def words_in(picture: Path) -> str:
    return " ".join(ET.fromstring(picture.read_bytes()).itertext())


def test_the_picture_is_whole_and_small_enough_to_look_at() -> None:
    assert ET.fromstring(_PICTURE.read_bytes()).tag.endswith("svg")
    assert _PICTURE.stat().st_size < 300_000


def test_the_picture_has_every_strip_and_says_what_is_emulated_and_what_is_measured() -> None:
    words = words_in(_PICTURE)
    assert [title for title in STRIPS if title not in words] == []
    assert "Watts, degrees and clocks are emulated" in words
    assert "Lateness is measured" in words


def test_the_picture_is_shown_and_its_page_is_linked_from_the_readme() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    assert f"]({_PICTURE.name})" in page
    assert "emulated" in page.split(f"]({_PICTURE.name})", 1)[1][:900]
    assert f"(docs/{_PAGE.name})" in (_DOCS.parent / "README.md").read_text(encoding="utf-8")
