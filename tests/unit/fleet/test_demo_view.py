"""What the demo shows can be copied, fits the terminal, and keeps still."""

import io
import shlex

import pytest
from msgspec.structs import replace
from rich.console import Console

from fleet.demo import view
from fleet.demo.server import DeviceStatus
from models.wire.messages import ConnectionKind, DeviceState, UpdatePhase, UpdateStatus
from tests.fakes.fleet_messages import RELEASE, state

BUILD = (
    "roskva release build checkpoint --claim checkpoint.claim.jsonl --precision int8 --name 'two words' "
    "--version 1.0.0 --counter 1 --hardware thor-t5000 --keys keys --out releases/1.0.0"
)


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False)


def shown(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 100, 140, 300])
def test_a_long_command_is_broken_between_words_and_can_be_pasted(width: int) -> None:
    console = terminal(width)
    view.command(console, BUILD)
    lines = shown(console)
    assert max(map(len, lines)) < width
    assert shlex.split("\n".join(lines).replace("  $ ", "", 1).replace("\\\n", "")) == shlex.split(BUILD)
    assert all(line.endswith("\\") for line in lines[:-1])


def test_a_long_line_of_a_tree_goes_on_beside_its_guides() -> None:
    console = terminal(40)
    view.tree(console, "root\n├── one two three four five six seven eight nine\n│   └── leaf\n└── last")
    assert shown(console) == [
        "root",
        "├── one two three four five six seven",
        "│     eight nine",
        "│   └── leaf",
        "└── last",
        "",
    ]


def devices_of(first: DeviceState | None) -> list[DeviceStatus]:
    return [
        DeviceStatus("thor-1", ConnectionKind.ONLINE, first),
        DeviceStatus("thor-2", ConnectionKind.ONLINE, None),
    ]


def test_the_table_says_where_its_watts_are_emulated() -> None:
    for emulated in (True, False):
        console = terminal(100)
        console.print(view.devices_table(devices_of(replace(state(), emulated=emulated)), "driving"))
        assert ("watts and °C are emulated" in "\n".join(shown(console))) is emulated


@pytest.mark.parametrize("width", [100, 140])
def test_the_table_keeps_its_shape_from_the_first_frame_to_the_last(width: int) -> None:
    fetching = replace(state(), update=UpdateStatus(UpdatePhase.FETCHING, RELEASE, 12, 48))
    refused = replace(state(), update=UpdateStatus(UpdatePhase.IDLE, RELEASE, reason="device-class-mismatch"))
    frames = []
    for first in (None, state(), replace(state(), emulated=True), fetching, refused):
        console = terminal(width)
        console.print(view.devices_table(devices_of(first), "release 1.0.0 arrives"))
        frames.append(shown(console))
    assert {len(frame) for frame in frames} == {len(frames[0])}
    assert {frame[2] for frame in frames} == {frames[0][2]}
    assert all(word in frames[0][2] for word in ("device", "late p99", "decisions", "°C"))
    assert "96/120" in "".join(frames[1])
