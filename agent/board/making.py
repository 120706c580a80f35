"""Making the file of a board or a ring.

Owns: that no reader ever opens half of one, and that nothing which lies in the shared directory is followed.
Must not know: formats.
"""

import os
from pathlib import Path


def make_file(path: Path, head: bytes, size_bytes: int, mode: int = 0o644) -> int:
    """Make or replace `path`: `head`, then zeros up to `size_bytes`; returns its descriptor, open for both.

    It is made under another name and moved into place. What lies under that name is of a process that died, or
    planted there: it goes.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(fresh, flags, mode)
    os.truncate(descriptor, size_bytes)
    os.pwrite(descriptor, head, 0)
    fresh.replace(path)
    return descriptor
