"""Which file names may stand in a release, and which in a checkpoint.

Owns: the grammar of names, and the collisions that other file systems would make of two of them.
Must not know: files themselves; nothing here touches a disk.
"""

import re
from collections.abc import Iterable
from enum import Enum

from models.errors import HostileNameError

MAX_COMPONENTS = 8
MAX_NAME_CHARACTERS = 255


class NameRule(Enum):
    """How a component may begin; the rest is `[A-Za-z0-9._-]` for both."""

    RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
    """A letter or a digit: no dot-files, so nothing that another tool ignores by habit."""
    CHECKPOINT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._][A-Za-z0-9._-]*")
    """Also `.metadata` and `__0_0.distcp`, which training frameworks write."""


def check_name(path: str, rule: NameRule = NameRule.RELEASE, most: int = MAX_COMPONENTS) -> None:
    """Raise `HostileNameError` where `path`, relative and at most `most` components with `/` between, is not ours."""
    components = path.split("/")
    fits = len(path) <= MAX_NAME_CHARACTERS and len(components) <= most
    if not fits or not all(rule.value.fullmatch(component) for component in components):
        raise HostileNameError(
            f"file name {path[:80]!r}: use at most {most} parts of letters, digits, dots, dashes and "
            f"underscores, letter or digit first, {MAX_NAME_CHARACTERS} characters in all"
        )


def check_names(paths: Iterable[str], rule: NameRule = NameRule.RELEASE) -> None:
    """Check each of `paths` and that no two of them collide.

    Two names collide where one is the other's folder, or where they, or two folders in them, differ in case
    only: a file system that folds case would keep one of them.

    Raises:
        HostileNameError: naming the first offender.
    """
    spelled: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        check_name(path, rule)
        if path in files:
            raise HostileNameError(f"file name {path!r} appears twice")
        files.add(path)
        parts = path.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
        for depth in range(1, len(parts) + 1):
            _check_spelling("/".join(parts[:depth]), spelled)
    for both in files & folders:
        raise HostileNameError(f"file name {both!r} is also the folder of another file")


def _check_spelling(name: str, spelled: dict[str, str]) -> None:
    known = spelled.setdefault(name.casefold(), name)
    if known != name:
        raise HostileNameError(f"file names {known!r} and {name!r} differ in case only")
