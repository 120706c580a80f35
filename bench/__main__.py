"""`python -m bench` lists the benches; `python -m bench NAME --json` runs one.

Owns: the list. Must not know: what they measure.
"""

import argparse
import importlib
import json
import sys

from rich.console import Console
from rich.table import Table

from fleet.demo.processes import endable
from models.errors import RoskvaError

BENCHES = {
    "reference": "every precision of the reference policy, closed loop by class of scenario, beside three baselines",
    "control": "the loop beside cyclictest, idle and loaded; a decision's overhead; hot swaps, breaches, workers that fail",
    "power": "how a governed Thor stays inside envelopes of 130 to 40 W, beside fixed power modes; all of it emulated",
    "journey": "offer to live, ticks, decisions and their traces over a 60 s drive with a change of release",
}
"""Name → what it measures; each is a module here with `run(arguments) -> dict`, plain numbers by name."""


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, add_help=False)
    parser.add_argument("name", nargs="?", choices=sorted(BENCHES), help="the bench to run")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument(
        "-h", "--help", action="store_true", help="this, or what the bench that is named can be told"
    )
    arguments, rest = parser.parse_known_args()
    if arguments.name is None:
        return _help(parser) if arguments.help else _list()
    rest += ["--help"] * arguments.help
    with endable() as ended:
        try:
            figures = importlib.import_module(f"bench.{arguments.name}").run(rest)
        except KeyboardInterrupt:
            return 128 + ended[0]
        except RoskvaError as error:
            sys.stderr.write(f"bench: error [{error.code}]: {error}\n")
            return error.exit_code
    if arguments.json:
        sys.stdout.write(json.dumps(figures, allow_nan=False) + "\n")
    else:
        _show(arguments.name, figures)
    return 0


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0


def _list() -> int:
    table = Table("bench", "measures")
    for name, what in BENCHES.items():
        table.add_row(name, what)
    Console().print(table)
    return 0


def _show(name: str, figures: dict[str, object]) -> None:
    table = Table("figure", "value", title=name)
    for figure, value in figures.items():
        table.add_row(figure, str(value))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
