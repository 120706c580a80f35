"""The `roskva` command: what operators, training sites and auditors type.

Owns: the command tree, and how errors become one line on stderr and an exit code.
Must not know: what the commands do; each lives in its own module and is imported when it is asked for.
"""

import sys

import typer

from fleet.cli import demo, keys, lineage, release, release_build, trace
from models.errors import RoskvaError

EXIT_CODES = """
Exit codes: 0 done · 1 failed · 2 wrong usage, or unknown name · 3 refused · 4 verification failed ·
5 not now (network, disk): try again.
"""

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


def main() -> None:
    """Run the command line; `RoskvaError` becomes one line and its exit code."""
    try:
        app()
    except RoskvaError as error:
        sys.stderr.write(f"roskva: error [{error.code}]: {error}\n")
        sys.exit(error.exit_code)
