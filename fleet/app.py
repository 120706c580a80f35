"""The `roskva-fleet` command: `serve` runs the fleet server, `broker` the embedded MQTT broker.

Owns: options, the announcement, and how errors become one line on stderr and an exit code.
Must not know: how the parts work.
"""

import contextlib
import gc
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fleet.config import FleetConfig, Overrides, load_config
from models.errors import NotNowError, RoskvaError

SERVER_FILE = "server.json"
app = typer.Typer(
    help="The fleet server: ingest, depot, Director, REST and console.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="fleet.toml; options go before it.")] = None,
    state: Annotated[str | None, typer.Option(help="Where the server keeps what it must not lose.")] = None,
    repo: Annotated[str | None, typer.Option(help="The published Image repository.")] = None,
    keys: Annotated[str | None, typer.Option(help="Directory of the online keys.")] = None,
    fleet: Annotated[str | None, typer.Option(help="The fleet's name, as in topics.")] = None,
    mqtt_host: Annotated[str | None, typer.Option(help="Broker; 127.0.0.1 unless given.")] = None,
    mqtt_port: Annotated[int | None, typer.Option(help="Broker; 1883 unless given.")] = None,
    http_host: Annotated[str | None, typer.Option(help="127.0.0.1 unless given.")] = None,
    http_port: Annotated[int | None, typer.Option(help="8080 unless given; 0 takes a free one.")] = None,
) -> None:
    """Run the fleet server until SIGTERM."""
    overrides = Overrides(state, repo, keys, fleet, mqtt_host, mqtt_port, http_host, http_port)
    _serve(load_config(config, overrides))


@app.command()
def broker(
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")],
    host: Annotated[
        str, typer.Option(help="Anonymous clients are let in, so keep to loopback.")
    ] = "127.0.0.1",
) -> None:
    """Run the embedded broker (for trying out; Mosquitto or EMQX for real) until SIGTERM."""
    from fleet.adapters.broker import run

    _log_to_stderr()
    run(host, port)


def main() -> None:
    """Run the command line; `RoskvaError` becomes one line and its exit code."""
    try:
        app()
    except RoskvaError as error:
        _end(error)
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _end(NotNowError(said))


def _end(error: RoskvaError) -> NoReturn:
    sys.stderr.write(f"roskva-fleet: error [{error.code}]: {error}\n")
    sys.exit(error.exit_code)


def _serve(config: FleetConfig) -> None:
    from fleet.console.pages import Sources, mount
    from fleet.server import FleetServer
    from fleet.web import listen, serve

    _log_to_stderr()
    server = FleetServer(config)
    application = server.app()
    mount(application, Sources(server.desk, server.health))
    sock = listen(config.http.host, config.http.port)
    port: int = sock.getsockname()[1]
    server.start()
    # What was imported stays to the end: keep the collector from walking it every time, and at exit.
    gc.freeze()
    try:
        serve(application, sock, lambda: _announce(config, port))
    finally:
        server.stop()
        with contextlib.suppress(OSError):
            (config.state / SERVER_FILE).unlink()


def _announce(config: FleetConfig, port: int) -> None:
    path = config.state / SERVER_FILE
    partial = path.with_suffix(".partial")
    partial.write_text(f'{{"http_port": {port}, "pid": {os.getpid()}}}\n', encoding="utf-8")
    partial.replace(path)
    sys.stdout.write(f"roskva-fleet: console at http://{config.http.host}:{port}/\n")
    sys.stdout.flush()


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
