"""A site with one release, published and assigned to one device, fresh for every attack."""

import shutil
from pathlib import Path

import pytest

from models.digest import Digest
from tests.fakes.repositories import Site


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site that every test gets a copy of: making keys and signing takes longer than most attacks."""
    root = tmp_path_factory.mktemp("site")
    made = Site(root)
    made.assign("thor-1", made.publish("1.0.0", counter=5).digest)
    return root


@pytest.fixture(scope="session")
def shared_site(template: Path) -> Site:
    """The template itself, for tests that change nothing."""
    return Site(template)


@pytest.fixture
def site(template: Path, tmp_path: Path) -> Site:
    """Release 1.0.0 with counter 5 is published; `thor-1` is ordered to run it."""
    shutil.copytree(template, tmp_path / "site")
    return Site(tmp_path / "site")


@pytest.fixture
def digest(site: Site) -> Digest:
    """The identity of the published release."""
    return site.image.releases()[0].digest
