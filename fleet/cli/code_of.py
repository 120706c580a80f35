"""Which code: a commit as the person names it, or as git names the folder that they point to.

Owns: asking git. Must not know: claims' wire form.
"""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from models.errors import UsageError
from models.lineage.claim import CodeRef

_GIT_TIMEOUT_S = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def code_from_text(text: str) -> CodeRef:
    """`REPOSITORY@COMMIT` with a full commit, or a folder that is a clean git work tree.

    Raises:
        UsageError: neither, or the work tree has changes that its commit doesn't name.
    """
    repository, _, commit = text.rpartition("@")
    if repository and _COMMIT.fullmatch(commit):
        return CodeRef(without_credentials(repository), commit)
    folder = Path(text)
    if not folder.is_dir():
        raise UsageError(f"code {text[:80]!r}: write REPOSITORY@COMMIT (40 digits), or a folder under git")
    if _git(folder, "status", "--porcelain"):
        raise UsageError(
            f"{folder} has uncommitted changes, so no commit names its code; commit or stash them"
        )
    return CodeRef(_origin(folder), _git(folder, "rev-parse", "HEAD"))


def without_credentials(url: str) -> str:
    """`url` without the user and password that people leave in it: a claim is public and stays for ever.

    Raises:
        UsageError: it begins like a URL and is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"the repository {url[:80]!r} is no URL: {error}") from error
    if not parts.scheme or "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _origin(folder: Path) -> str:
    """Where the work tree came from; its folder's name where it has no remote."""
    try:
        return without_credentials(_git(folder, "remote", "get-url", "origin"))
    except UsageError:
        return Path(_git(folder, "rev-parse", "--show-toplevel")).name


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"git does not answer for {folder}: {error}") from error
    if done.returncode != 0:
        raise UsageError(f"git {arguments[0]} in {folder}: {done.stderr.strip()[:200]}")
    return done.stdout.strip()
