"""How far a long bench is, on standard error.

Owns: the display. Must not know: what is done.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Tell = Callable[[str], None]
"""One more is done; words, where there are any, stay above the bar."""


@contextmanager
def progress(what: str, total: int) -> Iterator[Tell]:
    """A bar of `total` steps."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=total)

        def tell(words: str) -> None:
            if words:
                shown.console.print(words, highlight=False, soft_wrap=True)
            shown.advance(task)

        yield tell
