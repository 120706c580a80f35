"""Run directories that lie in memory, as they do on a device.

Boards on a disk stall their writers while a page is written back, for seconds on a busy machine; `/run` never does.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")


@contextmanager
def directory_in_memory() -> Iterator[Path]:
    """A directory of our own in memory, or an ordinary temporary one where there is no shared memory; then gone."""
    usable = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="roskva-", dir=_SHARED_MEMORY if usable else None) as name:
        yield Path(name)
