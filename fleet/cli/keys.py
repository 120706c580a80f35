"""`roskva keys`: make a development key set.

Owns: the command and what it says about the danger of keys in files.
Must not know: what the keys are for.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.trust.keys import keyid_of, public_key_from_pem
from models.trust.keyset import KEY_NAMES, KeyDirectory, init_development_keys

app = typer.Typer(no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Keys of a site: two TUF repositories, the publisher, the builders."""


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is new or empty.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Make all keys of a site as unencrypted files, for development. Never overwrites."""
    made = init_development_keys(directory)
    keyids = {name: _keyid(made, name) for name in KEY_NAMES}
    if as_json:
        typer.echo(json.dumps({"directory": str(directory), "development": True, "keys": keyids}))
        return
    table = Table("key", "id", box=None, header_style="dim")
    for name, keyid in keyids.items():
        table.add_row(name, keyid[:16])
    console = Console()
    console.print(table)
    console.print(
        Text("Development keys: ", style="bold yellow").append(
            "the offline ones lie here too, unencrypted. Whoever reads this folder signs for your devices.",
            style="not bold",
        )
    )


def _keyid(made: KeyDirectory, name: str) -> str:
    return keyid_of(public_key_from_pem(made.public_pem(name)))
