"""The `roskva` command: what operators, training sites and auditors type.

Owns: the command tree, and how errors become one line on stderr and an exit code.
Must not know: what the commands do; each lives in its own module.
"""

import sys
from collections.abc import Sequence

import typer

from fleet.cli import demo, keys, lineage, release, release_build, trace
from fleet.cli.terminal import plain
from models.errors import NotNowError, RoskvaError, UsageError

EXIT_CODES = """
Exit codes: 0 done · 1 failed · 2 wrong usage, or unknown name · 3 refused · 4 verification failed ·
5 not now (network, disk): try again.
"""

_NAMED_WRONGLY = (
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
)

app = typer.Typer(
    help="Roskva: signed policies from the checkpoint to the control loop, and back." + EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
release.app.command("build")(release_build.build)
app.add_typer(keys.app, name="keys", help="Make a development key set.")
app.add_typer(lineage.app, name="lineage", help="Record what a checkpoint came from, and derive an ML-BOM.")
app.add_typer(release.app, name="release", help="Build, sign, publish, show and verify releases.")
app.command("trace")(trace.trace)
app.command("demo")(demo.demo)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (this process's, or `arguments`); an error becomes one line and its exit code."""
    try:
        app(arguments)
    except RoskvaError as error:
        _end(error)
    except OSError as error:
        _end(_blamed(error))


def _end(error: RoskvaError) -> None:
    # What is wrong may quote a file or a server, which must not draw on the terminal.
    sys.stderr.write(f"roskva: error [{error.code}]: {plain(str(error))}\n")
    sys.exit(error.exit_code)


def _blamed(error: OSError) -> RoskvaError:
    """What the system said, as ours: a path that was named wrongly, or a world that is in the way."""
    said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return UsageError(said) if isinstance(error, _NAMED_WRONGLY) else NotNowError(said)
