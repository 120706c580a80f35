"""Files that a person names on the command line, read whole and bounded.

Owns: the one way a command reads a file, and what is said where it cannot. Must not know: what is in them.
"""

from pathlib import Path

from models.errors import UnknownObjectError, UsageError


def read_input(path: Path, max_bytes: int) -> bytes:
    """The bytes of the file at `path`.

    Raises:
        UnknownObjectError: it is not there, or cannot be read.
        UsageError: it is longer than `max_bytes`; nothing is cut short.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise UnknownObjectError(f"cannot read {path} ({error.strerror})") from error
    if len(data) > max_bytes:
        raise UsageError(f"{path} is longer than the {max_bytes} bytes that are read: is it the right file?")
    return data
