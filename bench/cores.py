"""Which core is the loop's while something is timed.

Owns: the choice, and keeping this program off it. Must not know: what is timed.
"""

import os

from models.errors import ConfigurationError


def followers_core() -> int:
    """The last core: the follower's and its peer's, once they run. Raises `ConfigurationError` on a single core."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise ConfigurationError("one core only: the loop and what surrounds it need one each")
    return max(cores)


def leave(core: int) -> None:
    """This program and what it starts stay off `core`."""
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {core})
